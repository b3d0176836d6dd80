"""Work counted rather than timed: lines of Python, characters copied or searched, and steps of regular expressions.

Counts are the same on every run and machine. The steps are those of a plain backtracking matcher, which `re` is; each
match is compared with that of `re`.
"""

import functools
import importlib
import re
import sys
import types
from collections import Counter
from re import _constants as ops
from re import _parser

import ns2_diffusers.text.phonemizers as phonemizers

PACKAGE = "ns2_diffusers.text"
CATEGORIES = {
    ops.CATEGORY_DIGIT: str.isdecimal,
    ops.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    ops.CATEGORY_SPACE: str.isspace,
    ops.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    ops.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    ops.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}


class CountingPattern:
    """A compiled pattern that counts its steps into `work`, and otherwise does what `re` does.

    Each part becomes a function of a position, which tries the rest of the pattern and returns where it ends or None.
    """

    def __init__(self, pattern, flags, work):
        self.real, self.work, self.steps = re.compile(pattern, flags), work, 0
        parsed = _parser.parse(pattern, flags)
        self.flags, self.groups, self.counts = parsed.state.flags, {}, {}
        self.matches = self._sequence(list(parsed), lambda i: i)

    def __getattr__(self, name):
        return getattr(self.real, name)

    # What is asked of a pattern: the answer of `re`, and the steps to it.

    def _begin(self, text, position, end):
        self.text, self.end, self.groups = str(text), min(end, len(text)), {}
        return min(max(position, 0), len(text))

    def _tally(self):
        self.work[self.real.pattern] += self.steps
        self.steps = 0

    def match(self, text, pos=0, endpos=sys.maxsize):
        found, start = self.real.match(text, pos, endpos), self._begin(text, pos, endpos)
        end = self.matches(start)
        assert end == (found and found.end()), (self.real.pattern, text, start, end, found)
        self._tally()
        return found

    def fullmatch(self, text, pos=0, endpos=sys.maxsize):
        self.match(text, pos, endpos)
        return self.real.fullmatch(text, pos, endpos)

    def finditer(self, text, pos=0, endpos=sys.maxsize):
        start = self._begin(text, pos, endpos)
        for found in self.real.finditer(text, pos, endpos):
            self._begin(text, pos, endpos)
            for position in range(start, found.start() + 1):
                end = self.matches(position)
            assert end == found.end(), (self.real.pattern, text, position, end, found)
            self._tally()
            yield found
            start = found.end() + (found.end() == found.start())
        self._begin(text, pos, endpos)
        for position in range(start, self.end + 1):
            assert self.matches(position) is None, (self.real.pattern, text, position)
        self._tally()

    def search(self, text, pos=0, endpos=sys.maxsize):
        return next(self.finditer(text, pos, endpos), None)

    def sub(self, replacement, text, count=0):
        list(self.finditer(text))
        return self.real.sub(replacement, text, count)

    def split(self, text, maxsplit=0):
        list(self.finditer(text))
        return self.real.split(text, maxsplit)

    def findall(self, text, pos=0, endpos=sys.maxsize):
        list(self.finditer(text, pos, endpos))
        return self.real.findall(text, pos, endpos)

    # The matcher.

    def _sequence(self, parts, rest):
        for operator, argument in reversed(parts):
            rest = self._part(operator, argument, rest)
        return rest

    def _part(self, operator, argument, rest):
        accepts = self._characters(operator, argument)
        if accepts is not None:

            def character(i):
                self.steps += 1
                return rest(i + 1) if i < self.end and accepts(self.text[i]) else None

            return character
        if operator is ops.AT:
            return self._position(argument, rest)
        if operator is ops.BRANCH:
            branches = [self._sequence(list(branch), rest) for branch in argument[1]]
            return lambda i: next((end for branch in branches if (end := branch(i)) is not None), None)
        if operator is ops.SUBPATTERN:
            group, added, removed, parts = argument
            assert not added and not removed
            return self._group(group, list(parts), rest)
        if operator is ops.GROUPREF:

            def same_as_group(i):
                if not self.groups.get(argument):
                    return None
                start, end = self.groups[argument]
                self.steps += end - start
                return rest(i + end - start) if self.text.startswith(self.text[start:end], i) else None

            return same_as_group
        if operator in (ops.ASSERT, ops.ASSERT_NOT):
            direction, parts = argument
            back = parts.getwidth()[0] if direction < 0 else 0
            inner, wanted = self._sequence(list(parts), lambda i: i), operator is ops.ASSERT

            def look(i):
                return rest(i) if (i >= back and inner(i - back) is not None) is wanted else None

            return look
        if operator in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            return self._repeat(*argument, operator is ops.MAX_REPEAT, rest)
        if operator is ops.GROUPREF_EXISTS:
            group, yes, no = argument
            present, absent = self._sequence(list(yes), rest), self._sequence(list(no or ()), rest)
            return lambda i: (present if self.groups.get(group) else absent)(i)
        raise NotImplementedError(f"{operator} in {self.real.pattern}")

    def _characters(self, operator, argument):
        """Which single characters a part takes; None if it is not a part for one character."""
        if operator is ops.ANY:
            return lambda c: c != "\n" or self.flags & re.DOTALL
        if operator is ops.LITERAL:
            argument = [(operator, argument)]
        elif operator is ops.NOT_LITERAL:
            argument = [(ops.NEGATE, None), (ops.LITERAL, argument)]
        elif operator is not ops.IN:
            return None

        def holds(c):
            return any(
                kind is ops.LITERAL
                and ord(c) == value
                or kind is ops.RANGE
                and value[0] <= ord(c) <= value[1]
                or kind is ops.CATEGORY
                and CATEGORIES[value](c)
                for kind, value in argument
            )

        variants = (str.lower, str.upper) if self.flags & re.IGNORECASE else (str,)
        negated = argument[0][0] is ops.NEGATE
        return functools.cache(lambda c: any(holds(variant(c)) for variant in variants) is not negated)

    def _position(self, kind, rest):
        is_word, multiline = CATEGORIES[ops.CATEGORY_WORD], self.flags & re.MULTILINE

        def holds(i):
            if kind in (ops.AT_BOUNDARY, ops.AT_NON_BOUNDARY):
                before, after = i > 0 and is_word(self.text[i - 1]), i < self.end and is_word(self.text[i])
                return (before is not after) is (kind is ops.AT_BOUNDARY)
            if kind is ops.AT_BEGINNING or kind is ops.AT_BEGINNING_STRING:
                return i == 0 or multiline and kind is ops.AT_BEGINNING and self.text[i - 1] == "\n"
            if i == self.end or kind is ops.AT_END_STRING:
                return i == self.end
            return self.text[i] == "\n" and (multiline or i + 1 == self.end)

        def position(i):
            self.steps += 1
            return rest(i) if holds(i) else None

        return position

    def _group(self, group, parts, rest):
        if group is None:
            return self._sequence(parts, rest)
        starts = []

        def close(i):
            before, start = self.groups.get(group), starts[-1]
            self.groups[group] = (start, i)
            end = rest(i)
            if end is None:
                self.groups[group] = before
            return end

        inner = self._sequence(parts, close)

        def open_(i):
            starts.append(i)
            end = inner(i)
            starts.pop()
            return end

        return open_

    def _repeat(self, least, most, parts, greedy, rest):
        most = sys.maxsize if most is ops.MAXREPEAT else most
        accepts = self._characters(*parts[0]) if len(parts) == 1 else None
        if accepts is not None:

            def run(i):
                stop, longest = i, min(self.end, i + most)
                while stop < longest and (greedy or stop - i < least) and accepts(self.text[stop]):
                    stop += 1
                self.steps += stop - i + 1
                if stop - i < least:
                    return None
                if greedy:
                    return next((end for j in range(stop, i + least - 1, -1) if (end := rest(j)) is not None), None)
                while (end := rest(stop)) is None and stop < longest and accepts(self.text[stop]):
                    self.steps += 1
                    stop += 1
                return end

            return run
        key = object()

        def again(i):
            count, before = self.counts[key]
            end = None
            if count < least or greedy and count < most and i != before:
                self.counts[key] = (count + 1, i)
                end = inner(i)
                self.counts[key] = (count, before)
            if end is None and count >= least:
                end = rest(i)
                if end is None and not greedy and count < most:
                    self.counts[key] = (count + 1, i)
                    end = inner(i)
                    self.counts[key] = (count, before)
            return end

        inner = self._sequence(list(parts), again)

        def enter(i):
            before = self.counts.get(key)
            self.counts[key] = (0, -1)
            end = again(i)
            self.counts[key] = before
            return end

        return enter


def counting_package():
    """A second copy of `ns2_diffusers.text` whose patterns count, and the counter."""
    work = Counter()

    @functools.cache
    def compile_(pattern, flags=0):
        return CountingPattern(pattern, int(flags), work)

    def function(name):
        def call(pattern, *arguments, flags=0, **options):
            if name in ("match", "search", "fullmatch", "findall", "finditer") and len(arguments) > 1:
                *arguments, flags = arguments
            return getattr(compile_(pattern, flags), name)(*arguments, **options)

        return call

    counting = types.ModuleType("re")
    counting.__dict__.update(vars(re))
    counting.compile = compile_
    for name in ("match", "search", "fullmatch", "findall", "finditer", "sub", "split"):
        setattr(counting, name, function(name))
    ours = {name: module for name, module in sys.modules.items() if name.startswith(PACKAGE)}
    for name in ours:
        del sys.modules[name]
    sys.modules["re"] = counting
    try:
        copy = types.SimpleNamespace(
            phonemizers=importlib.import_module(f"{PACKAGE}.phonemizers"),
            sentences=importlib.import_module(f"{PACKAGE}.sentences"),
        )
    finally:
        sys.modules["re"] = re
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            del sys.modules[name]
        sys.modules.update(ours)
    copy.phonemizers._hibari_g2p = phonemizers._hibari_g2p  # large, and not ours
    return copy, work


def counting_text(text, work):
    """A string that counts, for each line of Python, the characters that its methods copy or search."""

    class Text(str):
        pass

    def counted(name):
        def method(self, *arguments):
            result = getattr(str, name)(self, *arguments)
            caller = sys._getframe(1)
            size = len(result) if name == "__getitem__" else len(self)
            work[name, caller.f_code.co_filename, caller.f_lineno] += size
            return Text(result) if isinstance(result, str) and len(result) > 1 else result

        return method

    for name in "__getitem__ __contains__ __add__ count find index lower lstrip replace rstrip split strip".split():
        setattr(Text, name, counted(name))
    return Text(text)


def count(function, text, work):
    """How much each pattern and each line of Python did while `function(text)` ran, matchers left out."""
    lines = Counter()

    def trace(frame, event, _):
        if frame.f_code.co_filename == __file__:
            return None
        if event == "line":
            lines[frame.f_code.co_filename, frame.f_lineno] += 1
        return trace

    work.clear()
    text = counting_text(text, work)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(text)
    finally:
        sys.settrace(before)
    return lines + work
