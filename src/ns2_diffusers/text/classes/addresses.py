"""Web and mail addresses, files, handles and hashtags."""

from __future__ import annotations

import re

from .common import Context, digits, join, pairs, rule

_SYMBOLS = {
    ".": "dot",
    "/": "slash",
    "\\": "backslash",
    "@": "at",
    "-": "dash",
    "_": "underscore",
    "?": "question mark",
    "=": "equals",
    "&": "ampersand",
    "#": "hash",
    ":": "colon",
    "~": "tilde",
    "%": "percent",
    "+": "plus",
    "!": "exclamation mark",
    "$": "dollar",
    "*": "star",
    ",": "comma",
    ";": "semicolon",
}
_DOMAINS = frozenset(
    "com org net edu gov io ai dev app info uk de fr it es eu us ca au tv me ly co be ch nl "
    "se no fi dk pl ru jp cn in "
    "br mx za nz ie at biz mil int xyz online site tech store blog gg sh to so fm gl cc".split()
)
_FILES = frozenset(
    "txt pdf doc docx xls xlsx ppt pptx csv tsv json xml html htm css js ts jsx tsx py ipynb "
    "java cpp hpp rs rb go php "
    "sh bat exe dll zip tar gz tgz rar iso jpg jpeg png gif svg bmp tiff webp mp3 mp4 wav flac ogg avi mov mkv md tex "
    "log ini cfg conf yml yaml toml sql db bak tmp apk dmg deb rpm jar war env lock".split()
)
# Readings of top-level domains and suffixes that are not spelled.
_SAID = {
    "com": "com",
    "org": "org",
    "net": "net",
    "edu": "E D U",
    "gov": "gov",
    "info": "info",
    "app": "app",
    "dev": "dev",
    "blog": "blog",
    "online": "online",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "gif": "gif",
    "zip": "zip",
    "doc": "doc",
    "json": "jason",
    "exe": "E X E",
    "mov": "mov",
    "log": "log",
    "bat": "bat",
    "java": "java",
    "lock": "lock",
    "mil": "mil",
    "be": "be",
    "me": "me",
    "to": "to",
    "so": "so",
    "store": "store",
    "site": "site",
    "tech": "tech",
    "www": "W W W",
    "py": "pie",
}
# Parts that may be in the lexicon but are spelled in an address.
_LETTERS = frozenset("uk us de fr it es eu ca au tv ai io co js ts md gg cc pdf html htm css xml php sql".split())
_VOWELS = re.compile("[aeiouy]", re.IGNORECASE)
# Names of persons that are too short to be taken for words by their letters, and are in no lexicon.
FIRST_NAMES = frozenset(
    "ann kim sue ken liz deb ian zoe ava mia eva jen kyle jay sam ben dan ron tom tim jim joe bob rob ted ned "
    "meg peg pat "
    "ray roy lee leo max gus hal ida ira ivy jan joy kai kit len les lex lou mae moe nan rae rex rod sal sid "
    "uma una val "
    "van vic wes zac ana amy bea bev dee dot eli eve fay flo gil guy jo al ed abe art bud cal cam cy dom don "
    "drew gabe "
    "gwen hugh jeff jess josh jude june karl kate kurt lars lena lily lori luis luke lynn marc mary matt mick "
    "mike mimi "
    "neil nick nina noah nora omar owen paul pete phil raj rhys rosa ruth ryan sara saul sean seth tara tess "
    "todd tony "
    "troy vera wade walt will yuri zach zara ali ama ari asa raj ravi hari hugo ines ivan jack jane joan joel "
    "john juan jose".split()
)


def _word(word, context: Context):
    """A run of letters of an address: a word if it can be one, otherwise letters."""
    lower = word.lower()
    if lower in _LETTERS or len(word) == 1:
        return word.upper()
    if lower in _SAID:
        return _SAID[lower]
    if context.known(lower) or lower in FIRST_NAMES:
        return lower
    pieces = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", word)
    if len(pieces) > 1:
        return " ".join(_word(piece, context) for piece in pieces)
    return word.upper() if len(word) <= 3 or not _VOWELS.search(word) else lower


def _digits(number):
    if len(number) == 4 and number.endswith("00") or len(number) <= 2 and number[0] != "0":
        return pairs(number)
    return digits(number)


def spell_address(address: str, context: Context) -> str:
    """An address, part by part: words, letters, digits, and the names of signs."""
    words = []
    for part in re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", address):
        if part[0].isdigit():
            words.append(_digits(part) if part.isascii() else part)
        elif part.isalpha():
            words.append(_word(part, context))
        else:
            words.append(_SYMBOLS.get(part, ""))
    return join(*words)


def _strip(text):
    """The address without the punctuation of the sentence around it."""
    stripped = text.rstrip(".,;:!?'\")]>*")
    if "(" not in stripped:
        return stripped
    return text[: len(stripped) + 1] if text[len(stripped) : len(stripped) + 1] == ")" else stripped


@rule(
    "address",
    r"(?P<scheme>https?|ftps?|sftp|ssh|git|file|mailto|s3)(?P<sep>://|(?<=mailto):)(?P<rest>[^\s<>\"]{1,2000})",
    re.IGNORECASE,
)
def url(match, context):
    rest = _strip(match["rest"])
    end = match.start("rest") + len(rest)
    scheme = match["scheme"].lower()
    if scheme in ("http", "https", "mailto"):
        # The scheme is left out: nobody says "H T T P S colon slash slash".
        return spell_address(rest.rstrip("/"), context), end
    scheme = "file" if scheme == "file" else scheme.upper()
    return join(scheme, "colon slash slash", spell_address(rest, context)), end


@rule(
    "address",
    r"(?<![\w@])[A-Za-z0-9][\w.+%&'-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}(?:/[^\s<>\"]{0,500})?",
)
def email(match, context):
    address = _strip(match[0])
    return spell_address(address, context), match.start() + len(address)


_LABEL = r"[A-Za-z0-9_-]{1,63}"


@rule(
    "address",
    rf"www\.[^\s<>\"]{{1,2000}}|(?<![\w.@]){_LABEL}(?:\.{_LABEL}){{1,8}}(?:(?::\d{{2,5}})?[/?#][^\s<>\"]{{0,2000}})?",
    re.IGNORECASE,
)
def domain(match, context):
    address = _strip(match[0])
    host = re.split(r"[/?#:]", address)[0]
    labels = host.split(".")
    if labels[0].lower() != "www":
        last = labels[-1]
        # "e.g", "U.S", "3.5", "p.m" and "sentence.Another" are not addresses.
        if len(labels) < 2 or any(not label for label in labels) or all(len(label) == 1 for label in labels):
            return None
        if not any(c.isalpha() for c in last) or not any(c.isalpha() for c in host.replace(last, "", 1)):
            return None
        if all(len(re.sub(r"\d", "", label)) <= 1 for label in labels):
            return None
        known = last.lower() in _DOMAINS or last.lower() in _FILES
        if "/" in address and not known:
            return None
        if not known and (not last[0].islower() and last[0].isalpha() or len(last) < 2):
            return None
        if not known and len(labels[0]) < 2 and len(labels) == 2:
            return None
        if not known and context.known(last.lower()) and len(last) > 4:
            return None
        if re.fullmatch(r"[ap]", labels[-2][-1:]) and last == "m":
            return None
    address = address.rstrip("/")
    return spell_address(address, context), match.start() + len(_strip(match[0]))


@rule("address", r"(?<![^\s\"'(/,])\.(?P<name>[A-Za-z][A-Za-z0-9]{1,9})(?!\w|\.\w)(?!\.\w)")
def extension(match, context):
    """ ".NET", ".gov", ".txt"."""
    if match["name"].isupper() and match["name"] != "NET" and not context.known(match["name"].lower()):
        return f"dot {match['name']}"
    return f"dot {spell_address(match['name'].lower(), context)}"


@rule("address", r"(?<!\w)@(?P<name>[A-Za-z0-9_][\w.]{0,60})")
def handle(match, context):
    name = match["name"].rstrip(".")
    return f"at {spell_address(name, context)}", match.start("name") + len(name)


@rule("address", r"(?<![\w&])#(?P<name>[A-Za-z_]\w{0,100})")
def hashtag(match, context):
    from .counting import hash_number

    numbered = hash_number.pattern.match(context.text, match.start())
    if numbered and hash_number.read(numbered, context):
        return None
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", match["name"])
    return join(
        "hashtag", *(_digits(w) if w.isdigit() else w if context.known(w.lower()) else w.lower() for w in words)
    )


@rule(
    "address",
    r"(?<![\w/~.])(?:/{1,2}[\w.-]{1,100}(?:/[\w.-]{1,100}){1,30}|(?:~|\.{1,2})(?:/[\w.-]{1,100}){1,30})/?",
)
def path(match, context):
    address = _strip(match[0])
    return spell_address(address, context), match.start() + len(address)


@rule("address", r"[A-Za-z]:\\(?:[\w-][\w.-]{0,99}(?:\\[\w.-]{1,100}){0,30}\\?)?")
def windows_path(match, context):
    """C:\\Users"""
    address = _strip(match[0])
    return spell_address(address, context), match.start() + len(address)


@rule(
    "address",
    r"<(?:https?://|mailto:)?(?P<address>[^\s<>@]{1,64}@[^\s<>@]{1,100}|"
    r"(?:[\w-]{1,63}\.){1,8}[a-z]{2,10}(?:/[^\s<>]{0,500})?)>",
)
def in_angles(match, context):
    """Bob <bob@example.com>"""
    return (
        f", {spell_address(match['address'].rstrip('/'), context)}"
        if match.start()
        else spell_address(match["address"].rstrip("/"), context)
    )


RULES = (url, email, path, domain, extension, handle, hashtag)
