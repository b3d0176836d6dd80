"""Words of one spelling and two sounds that hibari's tagger gets wrong.

hibari chooses by part of speech, which settles most of them ("I record the record"). What is left differs
within one part of speech (lead, bow, bass) or is mistagged; the words around it tell the two apart. Each rule
is a pattern whose one group is the word; its phonemes are misaki's, American and British.
"""

import re

_BEFORE_A_VERB = r"(?:\b(?:I|you|we|they|who|to|will|would|can|could|may|might|must|should|not)|n't)"
_RULES = [
    # the metal
    (
        r"\b(?:made (?:of|from|out of)|full of|molten|melted|contains?|contained|containing|like) (lead)\b",
        "lˈɛd",
        "lˈɛd",
    ),
    (
        r"\b(lead)(?= (?:pipes?|paint|poisoning|batter(?:y|ies)|pencils?|bullets?|ore|solder|dust)\b)",
        "lˈɛd",
        "lˈɛd",
    ),
    (
        r"\b(lead)(?= is (?:a )?(?:heavy|soft|toxic|poisonous|dense|metal)\b)",
        "lˈɛd",
        "lˈɛd",
    ),
    # tiny
    (
        r"\b(minute)(?= (?:details?|amounts?|quantit(?:y|ies)|traces?|particles?|differences?)\b)",
        "mInˈut",
        "mInjˈuːt",
    ),
    # satisfied
    (
        r"\b(?:am|is|are|was|were|be|been|feels?|felt|seems?|seemed|look(?:s|ed)?|quite|very|'m|'re) "
        r"(content)\b(?! (?:of|is|was|that))",
        "kəntˈɛnt",
        "kəntˈɛnt",
    ),
    (r"\b(content)(?= (?:with|to)\b)", "kəntˈɛnt", "kəntˈɛnt"),
    # of a head, of a ship
    (r"\b(?:take|takes|took|taking) (?:a|his|her|their|another|one last) (bow)\b", "bˈW", "bˈW"),
    (r"\b(?:deep|low|slight|polite|formal) (bow)\b(?! tie)", "bˈW", "bˈW"),
    (
        r"\b(bow)(?= (?:of (?:the|his|her|a) (?:head|ship|boat|vessel|yacht)|and stern)\b)",
        "bˈW",
        "bˈW",
    ),
    # verbs that are tagged as nouns
    (
        rf"{_BEFORE_A_VERB} (?:strongly |also )?(object)\b(?! (?:of|recognition|detection))",
        "əbʤˈɛkt",
        "əbʤˈɛkt",
    ),
    (r"\b(?:he|she|it|who|nobody|everyone|anyone) (objects)\b", "əbʤˈɛkts", "əbʤˈɛkts"),
    (rf"{_BEFORE_A_VERB} (project)\b(?! (?:managers?|management|plans?|work)\b)", "pɹəʤˈɛkt", "pɹəʤˈɛkt"),
    # accustomed (but "it is used to make ...")
    (r"\b(?:get|gets|got|getting|become|became|am|'m) (used)(?= to\b)", "jˈust", "jˈuːst"),
    (
        r"\b(?:is|are|was|were|be|been|'re) (used)(?= to (?:it|this|that|the|him|her|them|being|\w+ing)\b)",
        "jˈust",
        "jˈuːst",
    ),
    # the instrument (hibari reads the fish)
    (
        r"\b(bass)(?= (?:guitars?|guitarists?|players?|lines?|drums?|clef|notes?|solos?|singers?)\b)",
        "bˈAs",
        "bˈAs",
    ),
    (r"\b(?:double|plays?|played|playing|slap|on) (?:the )?(bass)\b", "bˈAs", "bˈAs"),
    # the little motorcycle
    (r"\b(?:a|an|the|his|her|my|your|their|on) (moped)\b", "mˈOpˌɛd", "mˈQpˌɛd"),
    # the paper about one's career
    (r"\b(?:a|my|your|his|her|their|the) (resume)\b(?! of)", "ɹˈɛzəmˌA", "ɹˈɛzjuːmˌA"),
]
_COMPILED = [(re.compile(pattern, re.IGNORECASE), us, gb) for pattern, us, gb in _RULES]


def apply_heteronyms(tokens: list, british: bool) -> None:
    """Writes phonemes into those hibari tokens whose context decides their sound.

    Args:
        tokens: hibari's `Tok` objects of one text, as `G2P.tokenize` gives them; changed in place.
        british: which accent's phonemes to write.
    """
    text, starts = "", {}
    for token in tokens:
        starts[len(text)] = token
        text += token.text + token.whitespace
    for pattern, american_phonemes, british_phonemes in _COMPILED:
        for match in pattern.finditer(text):
            token = starts.get(match.start(1))
            if token is not None and token.phonemes is None:
                token.phonemes = british_phonemes if british else american_phonemes
                token.rating = 5  # hibari's mark for phonemes that were given
