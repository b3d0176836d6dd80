"""Heteronyms (one spelling, two pronunciations) that hibari's tagger gets wrong.

hibari chooses by part of speech, which settles most heteronyms ("I record the record"). The others have two
pronunciations within one part of speech (lead, bow, bass) or are mistagged. The words around them decide. Each rule
is a pattern with one group, the word, and its phonemes in misaki's symbols, American and British.
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
    # the bow of a head or of a ship
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
    # holy
    (
        r"\b(Blessed)(?= (?:Virgin|Sacrament|Mother|Trinity|Mary|Lady|Saint|Sacraments|Pope|Father|Sister)\b)",
        "blˈɛsəd",
        "blˈɛsɪd",
    ),
    (r"\b(?:the|most) (blessed)(?= [a-z]+\b)", "blˈɛsəd", "blˈɛsɪd"),
    # "old", but not after an age
    (
        r"\b(?:the|an|his|her|their|my|middle) (aged)(?= (?:care|man|woman|men|women|people|father"
        r"|mother|parents|person|poor)\b)",
        "ˈAʤəd",
        "ˈAʤɪd",
    ),
    (r"\b(?:the) (aged)(?=[.,;]| and\b)", "ˈAʤəd", "ˈAʤɪd"),
    # the Boston Celtics and Celtic of Glasgow
    (
        r"\b(Celtic)(?= (?:Park|F\.?C|FC|doubled|won|beat|lost|fans|were|scored|striker|manager"
        r"|midfielder|defeated)\b)",
        "sˈɛltɪk",
        "sˈɛltɪk",
    ),
    # rice wine, not "for the sake of"
    (
        r"(?<!the )(?<!'s )(?<!s' )(?<!own )(?<!his )(?<!her )(?<!its )(?<!our )(?<!my )(?<!your )"
        r"(?<!their )\b(sake)\b",
        "sˈɑki",
        "sˈɑːki",
    ),
    # the little motorcycle
    (r"(?<!\bhe )(?<!\bshe )(?<!\bthey )(?<!\bi )(?<!\bwe )(?<!\band )\b(moped)\b", "mˈOpˌɛd", "mˈQpˌɛd"),
    # the document about a career
    (r"\b(?:a|my|your|his|her|their|the) (resume)\b(?! of)", "ɹˈɛzəmˌA", "ɹˈɛzjuːmˌA"),
    # a sick person
    (
        r"\b(?:an|the|bedridden|chronic|helpless|permanent|lifelong) (invalid)"
        r"(?=[.,;!?]| (?:for (?:the|many|some|\w+ years)|who|since|until)\b)",
        "ˈɪnvəlɪd",
        "ˈɪnvəlɪd",
    ),
    (r"\b(invert)(?= (?:sugars?|syrups?|colou?rs)\b)", "ˈɪnvˌɜɹt", "ˈɪnvəːt"),
    # an unexpected win
    (
        r"\b(?:an?|the|major|huge|startling|stunning|shock|big|biggest|greatest) (upset)"
        r"(?=[.,;!?]| (?:of|in the|win|wins|victory|loss|over|against)\b)",
        "ˈʌpsˌɛt",
        "ˈʌpsɛt",
    ),
    # what somebody does to another
    (
        r"\b(?:he|she|it|who|that|and|user|\w+ly) (abuses)(?= (?:his|her|him|their|the|its|them|my|your|us|me)\b)",
        "əbjˈuzᵻz",
        "əbjˈuːzɪz",
    ),
    (r"\b\w+ly (abuse)(?= (?:his|her|him|their|the|its|them|my|your|us|me)\b)", "əbjˈuz", "əbjˈuːz"),
    (r"\b(close)(?=[- ]ups?\b)", "klˈOs", "klˈQs"),
    (r"\bat the (close)\b(?=[.,;!?]| of\b)", "klˈOz", "klˈQz"),
    (
        r"\b(degenerate)(?= (?:matter|gas|plasma|case|cases|form|forms|orbit|orbits|art|stars?|electrons?|states?)\b)",
        "dəʤˈɛnəɹət",
        "dɪʤˈɛnəɹət",
    ),
    (
        r"\b(?:to|can|could|will|would|may|might|must|should|cannot) (export)"
        r"\b(?! (?:restrictions?|markets?|controls?|bans?|duty|duties|quotas?|revenues?|earnings)\b)",
        "ɪkspˈɔɹt",
        "ɪkspˈɔːt",
    ),
    (r"\b(excuse)(?= (?:me|us|him|her|them|my|your|yourself)\b)", "ɪkskjˈuz", "ɪkskjˈuːz"),
]
# Each rule is stored with its word, and is tried only where the word occurs.
_COMPILED = [
    (re.findall(r"\((\w+)\)", pattern)[0].lower(), re.compile(pattern, re.IGNORECASE), us, gb)
    for pattern, us, gb in _RULES
]


# Phonemes as a noun (or adjective) and as a verb, where the lexicon has one reading for both. American, British.
_NOUN_VERB = {
    "perfume": (("pˈɜɹfjˌum", "pəɹfjˈum"), ("pˈɜːfjuːm", "pəfjˈuːm")),
    "recount": (("ɹˈikˌWnt", "ɹikˈWnt"), ("ɹˈiːkWnt", "ɹɪkˈWnt")),
    "implant": (("ˈɪmplˌænt", "ɪmplˈænt"), ("ˈɪmplɑːnt", "ɪmplˈɑːnt")),
    "insert": (("ˈɪnsˌɜɹt", "ɪnsˈɜɹt"), ("ˈɪnsɜːt", "ɪnsˈɜːt")),
    "confines": (("kˈɑnfInz", "kənfˈInz"), ("kˈɒnfInz", "kənfˈInz")),
    "diffuse": (("dəfjˈus", "dəfjˈuz"), ("dɪfjˈuːs", "dɪfjˈuːz")),
    "decrease": (("dˈikɹˌis", "dəkɹˈis"), ("dˈiːkɹiːs", "dɪkɹˈiːs")),
    "laminate": (("lˈæmənət", "lˈæmənˌAt"), ("lˈæmɪnət", "lˈæmɪnAt")),
    "conjugate": (("kˈɑnʤəɡət", "kˈɑnʤəɡˌAt"), ("kˈɒnʤuːɡət", "kˈɒnʤuːɡAt")),
    "correlate": (("kˈɔɹələt", "kˈɔɹəlˌAt"), ("kˈɒɹələt", "kˈɒɹəlAt")),
    "consummate": (("kˈɑnsəmət", "kˈɑnsəmˌAt"), ("kˈɒnsəmət", "kˈɒnsəmAt")),
}
_NOUN_BEFORE = frozenset(
    "a an the this that these those my your his her its our their no any some each every another of "
    "in with for from by "
    "on and or is was are were very more most as such new first second cochlear dental hip cell "
    "floral prosthetic dynamic "
    "judicial automatic manual complex sharp further marked significant about within beyond under".split()
)
_VERB_BEFORE = frozenset(
    "to will would can could may might must should shall do does did not i we you they who which it he she never also "
    "then often let lets helps itself cannot".split()
)
# Words of the sentence that decide the meaning: (word, words nearby, American, British). The first match is used.
_BY_COMPANY = [
    (
        "bass",
        "fish fishing fisherman lake river caught catch catfish largemouth smallmouth striped trout sea pike walleye "
        "species perch anglers angling",
        "bˈæs",
        "bˈæs",
    ),
    ("bass", "", "bˈAs", "bˈAs"),
    (
        "axes",
        "axis coordinate coordinates rotation symmetry horizontal vertical parallel perpendicular "
        "orthogonal principal "
        "plane planes crystal crystallographic angle angles x y z graph optical cartesian length "
        "lengths ellipse minor three "
        "rotate rotates dimensions dimensional directions",
        "ˈæksˌiz",
        "ˈæksiːz",
    ),
    ("axes", "", "ˈæksᵻz", "ˈæksɪz"),
    (
        "bow",
        "ship ships vessel boat boats stern hull deck torpedo torpedoes submarine starboard sonar "
        "shock thrusters bows "
        "sank harbour harbor aft sail sailing captain crew damages",
        "bˈW",
        "bˈW",
    ),
    (
        "tear",
        "acl labrum ligament muscle triceps biceps meniscus rotator cuff tendon slap hamstring calf pectoral injury "
        "injuries dimensional wear apart down off open fabric",
        "tˈɛɹ",
        "tˈɛː",
    ),
    ("sow", "seeds seed crops crop grain fields", "sˈO", "sˈQ"),
    (
        "lead",
        "pipe pipes poisoning metal zinc copper ore mercury toxic paint iron cadmium arsenic mines mining batteries",
        "lˈɛd",
        "lˈɛd",
    ),
    ("wound", "clock around spring up coil wire tightly down string", "wˈWnd", "wˈWnd"),
    ("minute", "details detail amounts quantities particles traces differences", "mInˈut", "mInjˈuːt"),
]
_COMPANIES = [(word, frozenset(company.split()), us, gb) for word, company, us, gb in _BY_COMPANY]
_COMPANY_WORDS = frozenset(word for word, *_ in _BY_COMPANY)
# Names, which a capital marks.
_NAMES = {"Nestle": ("nˈɛsli", "nˈɛsli"), "Ravel": ("ɹəvˈɛl", "ɹəvˈɛl"), "Bass": ("bˈæs", "bˈæs")}
_SENTENCE_END = frozenset(".!?…")


_CORRELATED = frozenset("with well to closely positively negatively strongly directly highly".split())


def _by_noun_or_verb(tokens, index):
    """0 for a noun or adjective, 1 for a verb. The word before decides; if it does not, the tagger does."""
    token = tokens[index]
    before = tokens[index - 1].text.lower() if index else ""
    after = tokens[index + 1].text.lower() if index + 1 < len(tokens) else ""
    if before in _VERB_BEFORE:
        return 1
    if token.text.lower() == "correlate" and (after in _CORRELATED or before.endswith("ly")):
        return 1
    if token.text.lower() == "decrease" and (
        after.endswith("ly") or token.tag.startswith("VB") and before in ("and", "or")
    ):
        return 1
    if token.text.lower() == "confines":
        return 0 if before in ("the", "these", "narrow", "within", "its", "their") else 1
    if before in _NOUN_BEFORE and not (
        before in ("and", "or", "that") and after in ("the", "a", "his", "her", "their")
    ):
        return 0
    return (
        1
        if token.tag.startswith("VB") and after in ("the", "a", "an", "his", "her", "their", "it", "them", "into")
        else 0
    )


def _by_meaning(tokens, british):
    start, accent = 0, int(british)
    for end in range(len(tokens) + 1):
        if end < len(tokens) and tokens[end].text not in _SENTENCE_END:
            continue
        sentence = [token.text.lower() for token in tokens[start:end]]
        words = None
        for index in range(start, end):
            token, lower = tokens[index], sentence[index - start]
            if token.phonemes is not None:
                continue
            if token.text in _NAMES and (index > start or token.text != "Bass"):
                if token.text != "Bass" or tokens[index - 1].text.istitle():
                    _give(token, _NAMES[token.text][accent])
            elif lower in _NOUN_VERB:
                _give(token, _NOUN_VERB[lower][accent][_by_noun_or_verb(tokens, index)])
            if lower in _COMPANY_WORDS and token.phonemes is None:
                # Only the nearest words count, so the time per word does not grow with the text.
                words = set(sentence[max(0, index - start - 12) : index - start + 13])
                for word, company, us, gb in _COMPANIES:
                    if word == lower and (not company or company & words):
                        _give(token, gb if british else us)
                        break
        start = end + 1


def _give(token, phonemes):
    token.phonemes, token.rating = phonemes, 5  # hibari's rating for given phonemes


def apply_heteronyms(tokens: list, british: bool) -> None:
    """Write phonemes into the hibari tokens whose context decides their pronunciation.

    Args:
        tokens: hibari's `Tok` objects of one text, from `G2P.tokenize`; changed in place.
        british: whether to write British phonemes; otherwise American.
    """
    text, starts = "", {}
    for token in tokens:
        starts[len(text)] = token
        text += token.text + token.whitespace
    present = {token.text.lower() for token in tokens}
    for word, pattern, american_phonemes, british_phonemes in _COMPILED:
        if word not in present:
            continue
        for match in pattern.finditer(text):
            token = starts.get(match.start(1))
            if token is not None and token.phonemes is None:
                token.phonemes = british_phonemes if british else american_phonemes
                token.rating = 5  # hibari's rating for given phonemes
    _by_meaning(tokens, british)
