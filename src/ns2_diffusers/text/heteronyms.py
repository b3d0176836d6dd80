"""Heteronyms (one spelling, two pronunciations) that hibari's tagger gets wrong.

hibari chooses by part of speech, which settles most heteronyms ("I record the record"). The others have two
pronunciations within one part of speech (lead, bow, bass) or are mistagged. The words around them decide. Each rule
is a pattern with one group, the word, and its phonemes in misaki's symbols, American and British.
"""

import re

_BEFORE_A_VERB = r"(?:\b(?:I|you|we|they|who|to|will|would|can|could|may|might|must|should|not)|n't)"
_RULES = [
    # orders
    (
        r"(?:^|[.!?:;\"(] )(tear)(?= (?:along|off|out|up|down|the|it|them|a|an|here|open|into|each|your|this|that)\b)",
        "tˈɛɹ",
        "tˈɛː",
    ),
    (r"(?:^|[.!?:;\"(] )(polish)(?= (?:the|your|it|them|all|each|until|any|every)\b)", "pˈɑlɪʃ", "pˈɒlɪʃ"),
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
    (
        r"\b(?:sheets?|strips?|pieces?|lumps?|bars?|tons?|pounds?|ounces?|grams?|amounts?|levels?|traces?|weights?|"
        r"layers?|exposure|"
        r"exposed|lined|coated|covered|filled|weighted|poisoned|contaminated|tested|soldered) (?:of|to|with|by|"
        r"for) (lead)\b"
        r"(?! (?:singers?|guitars?|roles?|actors?|times?))",
        "lˈɛd",
        "lˈɛd",
    ),
    (
        r"\b(lead)(?= in (?:the |their |our |its |his |her )?(?:\w+ )?(?:water|paint|soil|blood|gasoline|petrol|"
        r"air|dust|toys?|pipes)\b"
        r"|, (?:zinc|mercury|arsenic|copper|cadmium|tin|iron)\b| (?:and|or) (?:zinc|mercury|arsenic|copper|"
        r"cadmium|tin|asbestos)\b)",
        "lˈɛd",
        "lˈɛd",
    ),
    # tiny
    (
        r"\b(minute)(?= (?:details?|amounts?|quantit(?:y|ies)|traces?|particles?|differences?|errors?|changes?|"
        r"adjustments?|"
        r"variations?|cracks?|fractions?|proportions?|holes?|specks?|doses?|fragments?|samples?|portions?|grains?|"
        r"creatures?|"
        r"insects?|flaws?|hints?|chance|percentage|scratch(?:es)?|crystals?|bubbles?|movements?|organisms?|pores?|"
        r"scales?|"
        r"print|handwriting|letters)\b)",
        "mInˈut",
        "mInjˈuːt",
    ),
    (
        r"\b(?:so|very|too|extremely|incredibly|almost|more|most|is|are|was|were) (minute)(?= (?:that|to be|as "
        r"to)\b|[.,;] |\.$)",
        "mInˈut",
        "mInjˈuːt",
    ),
    # satisfied
    (
        r"\b(?:am|is|are|was|were|be|been|feels?|felt|seems?|seemed|look(?:s|ed)?|quite|very|'m|'re) (?:\w+ly |so "
        r"|too )?"
        r"(content)\b(?! (?:of|is|was|that))",
        "kəntˈɛnt",
        "kəntˈɛnt",
    ),
    (r"\b(content)(?= (?:with|to)\b)", "kəntˈɛnt", "kəntˈɛnt"),
    # the bow of a head or of a ship
    (r"\b(?:take|takes|took|taking) (?:a|his|her|their|another|one last) (bow)\b", "bˈW", "bˈW"),
    (
        r"\b(?:deep|low|slight|polite|formal|final|last|curtain|courtly|graceful|stiff|mocking|respectful|little) "
        r"(bow)\b"
        r"(?! (?:tie|and arrow))",
        "bˈW",
        "bˈW",
    ),
    (
        r"\b(?:take|takes|took|taking|taken|make|makes|made|gave|gives) (?:\w+ ){1,3}(bow)(?=[.,;!?]| (?:to|at|"
        r"and)\b)",
        "bˈW",
        "bˈW",
    ),
    (
        r"\b(bow)(?= (?:of (?:the|his|her|a|our|their) (?:\w+ )?(?:head|ship|boat|vessel|yacht|ferry|canoe|kayak|"
        r"tanker|raft|dinghy|"
        r"sailboat|cruiser|liner|warship|trawler|barge|destroyer|submarine|schooner|rowboat|speedboat)|and stern)\b)",
        "bˈW",
        "bˈW",
    ),
    # a quarrel
    (
        r"\b(?:terrible|blazing|furious|heated|flaming|stand-up|almighty|bitter|angry|diplomatic|political|public|"
        r"growing|"
        r"fierce|ongoing|violent|family|right|huge|big|first) (row)\b(?! of\b| (?:houses?|boats?)\b)"
        r"(?=[.,;!?]| (?:over|about|with|between|last|broke|erupted|that|after|has|had|and|in|on|when|at)\b)",
        "ɹˈW",
        "ɹˈW",
    ),
    (
        r"\b(row)(?= (?:over (?:the|who|how|whether|his|her|their|a|money|pay|plans|what)|broke out|erupted|about|"
        r"escalat\w+|"
        r"blew up|intensif\w+|rumble\w*|between (?:the two|them|him|her|us|\w+ and)|with (?:his|her|my|him|them|"
        r"me|your|their))\b)",
        "ɹˈW",
        "ɹˈW",
    ),
    (
        r"\b(?:having|had|have|has|started|starting|caused|sparked|triggered) an? (row)(?=[.,;!?]| (?:last|again|"
        r"in the|at|this)\b)",
        "ɹˈW",
        "ɹˈW",
    ),
    # female deer
    (r"\b(?:the|two|three|four|several|both|many|these|those|wild|young) (does)\b(?!n't| not\b)", "dˈOz", "dˈQz"),
    (r"\b(?:bucks?|stags?|fawns?|deer) and (?:\w+ )?(does)\b", "dˈOz", "dˈQz"),
    (r"\b(?:his|her|their|its|our|my) (does)\b(?!n't| not\b| (?:it|this|that|the|what|so)\b)", "dˈOz", "dˈQz"),
    # less able to feel
    (
        r"\b(?:got|gets|getting|get|grew|grow|grows|growing|became|become|becoming|even|ever|much|went|going|"
        r"feels?|felt|feeling|"
        r"and) (number)(?= (?:than|in the cold|with|by the|every|as|after|from|under|until)\b"
        r"|[.,;] |\.$| and number\b)",
        "nˈʌməɹ",
        "nˈʌmə",
    ),
    (r"\b(?:is|are|was|were) (number)(?= than (?:yours|mine|his|hers|the|my|before|ever|it)\b)", "nˈʌməɹ", "nˈʌmə"),
    # waste
    (
        r"\b(refuse)(?= (?:collection|collectors?|bins?|trucks?|lorry|lorries|disposal|dump|sacks?|bags?|heaps?|"
        r"tip|workers|chute)\b)",
        "ɹˈɛfjˌus",
        "ɹˈɛfjuːs",
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
    # went down head first
    (
        r"\b(?!(?:an?|the|his|her|white|gr[ae]y|mourning|turtle|rock|wounded|little) )\w+ (dove)(?= (?:to (?:his|"
        r"her|their|my|our|"
        r"the (?:left|right|ground|floor|bottom))|into|under|headfirst|off|for (?:the|cover)|down|deep|straight|"
        r"overboard)\b)",
        "dˈOv",
        "dˈQv",
    ),
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
        r"\b(invalid)(?= (?:mother|father|wife|husband|son|daughter|sister|brother|aunt|uncle|child|parents?|"
        r"chair|carriage|"
        r"soldiers?|patients?|diet|cup)\b)",
        "ˈɪnvəlɪd",
        "ˈɪnvəlɪd",
    ),
    (
        r"\bthe (invalid)(?= (?:slept|lay|sat|smiled|coughed|said|asked|woke|died|looked|could|had|needed|took|"
        r"ate|drank|was "
        r"(?:carried|helped|lying|sitting|asleep|wheeled))\b)",
        "ˈɪnvəlɪd",
        "ˈɪnvəlɪd",
    ),
    (
        r"\b(?:an|the|bedridden|chronic|helpless|permanent|lifelong) (invalid)"
        r"(?=[.,;!?]| (?:for (?:the|many|some|\w+ years|years|life)|who|since|until)\b)",
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
# The rules of each word, in order.
_COMPILED: dict[str, list] = {}
for _pattern, _us, _gb in _RULES:
    _word = re.findall(r"\((\w+)\)", _pattern)[0].lower()
    _COMPILED.setdefault(_word, []).append((re.compile(_pattern, re.IGNORECASE), _us, _gb))


# Phonemes as a noun (or adjective) and as a verb, where the lexicon has one reading for both. American, British.
_NOUN_VERB = {
    "protest": (("pɹˈOtˌɛst", "pɹətˈɛst"), ("pɹˈQtɛst", "pɹətˈɛst")),
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
        "species perch anglers angling dam pond reel hook bait lure boat grilled fillet fillets baked fried "
        "stocked rod",
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
        "sank harbour harbor aft sail sailing captain crew damages ferry yacht canoe kayak tanker waves anchor "
        "passengers dolphins whales sailors rowers cabin "
        "spray dock",
        "bˈW",
        "bˈW",
    ),
    (
        "tear",
        "cheek cheeks eye eyes rolled wiped wipe wiping shed shedding trickled streamed weeping wept cried crying "
        "salty duct ducts gas "
        "glistened blinked single",
        "tˈɪɹ",
        "tˈɪə",
    ),
    (
        "tear",
        "acl labrum ligament muscle triceps biceps meniscus rotator cuff tendon slap hamstring calf pectoral injury "
        "injuries dimensional wear apart down off open fabric sleeve jacket shirt dress trousers jeans curtain "
        "sail canvas "
        "tent cloth coat pocket seam paper page skin sheet stocking tights net tissue lining roof",
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
# The words that `_by_meaning` and `_retag` look at, so that most texts pass them by.
_MEANT = frozenset([*(name.lower() for name in _NAMES), *_NOUN_VERB, *_COMPANY_WORDS])
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


# Words whose reading hibari takes from the tag; the tagger often takes a verb for a noun, or the other way.
_TAGGED = frozenset(
    "object objects project projects record records conduct conducts contract contracts permit permits perfect "
    "produce rebel "
    "rebels suspect suspects desert deserts refuse present presents conflict conflicts contest contests contrast "
    "contrasts "
    "convert converts convict convicts digest escort escorts export exports extract extracts import imports "
    "increase increases "
    "insult insults subject subjects survey surveys transfer transfers transport transports estimate estimates "
    "separate "
    "graduate graduates moderate advocate advocates delegate delegates duplicate alternate attribute attributes "
    "combine "
    "compress discharge finance reject rejects segment torment use uses house houses excuse excuses abuse abuses "
    "close live "
    "resume progress attribute compound compounds impact impacts".split()
)
_DETERMINERS = frozenset(
    "a an the this that these those my your his her its our their it them him us me each every any some".split()
)
_OBJECTS = _DETERMINERS | {"to"}
_RETAGGED = _TAGGED | {"read"}
_AUXILIARIES = frozenset(
    "do does did will would can could may might must should shall don't doesn't didn't won't can't".split()
)
_SUBJECTS = frozenset(
    "i you he she it we they anyone anybody everyone everybody someone somebody nobody people who both".split()
)
_PERFECT = frozenset("have has had having haven't hasn't hadn't 've".split())
# Between "have" and its participle.
_WITHIN_PERFECT = frozenset(
    "you he she they we i it not n't never ever already just also all both only recently even probably really "
    "finally always often "
    "once since anyone everyone somebody nobody actually".split()
)
_CLOSES = frozenset("at early late tonight today tomorrow down their soon for on".split())
_CLOSING = frozenset(
    "on at early late tonight today tomorrow now soon for down its their the his her my your our . ? ! ,".split()
)


def _retag(tokens):
    """Correct tags of heteronyms that the words around them decide."""
    count = len(tokens)
    for index, token in enumerate(tokens):
        lower = token.text.lower()
        if lower not in _RETAGGED:
            continue
        before = tokens[index - 1] if index else None
        previous = before.text.lower() if before else ""
        following = tokens[index + 1].text.lower() if index + 1 < count else "."
        if lower == "read":
            if _is_participle(tokens, index):
                token.tag = "VBN"
            elif token.tag in ("VBP", "VBD") and _is_habit(tokens, index):
                token.tag = "VB"
            continue
        inverted = previous in _SUBJECTS and index > 1 and tokens[index - 2].text.lower() in _AUXILIARIES
        plural_subject = before is not None and before.tag in ("NNS", "NNPS") and following in _OBJECTS
        if token.tag.startswith(("NN", "JJ", "RB")) and not lower.endswith("s") and lower != "live":
            if previous == "to" and following in _DETERMINERS or inverted or plural_subject and lower != "close":
                token.tag = "VB"
        if lower == "close" and following in _CLOSING and token.tag != "VB":
            # "What time do the shops close tonight?"
            started = [t.text.lower() for t in tokens[max(0, index - 5) : index]]
            if (
                before is not None
                and before.tag in ("NN", "NNS", "NNP", "PRP")
                and not _AUXILIARIES.isdisjoint(started)
            ):
                token.tag = "VB"
        if lower == "close" and following in _CLOSES:
            # "Museums close at five."
            after = tokens[index + 2].text.lower() if index + 2 < count else ""
            many = before is not None and (
                before.tag in ("NNS", "NNPS") or before.tag == "NNP" and previous.endswith("s")
            )
            if many and after != "hand":
                token.tag = "VB"
        if (
            lower == "refuse"
            and before is not None
            and following not in ("to", "any", "the", "a", "them", "him", "her", "it")
        ):
            if before.tag in ("VBZ", "VBD", "VBG", "DT", "JJ", "IN") or previous in (
                "collect",
                "dump",
                "burn",
                "household",
            ):
                token.tag = "NN"


_HABITS = frozenset("usually often always sometimes rarely seldom never normally regularly generally".split())
_TIMES = frozenset(
    "day night week month year morning evening afternoon weekend sunday summer winter time other".split()
)


def _is_habit(tokens, index):
    """Whether "read" tells what somebody does every day."""
    if index and tokens[index - 1].text.lower() in _HABITS:
        return True
    words = [token.text.lower() for token in tokens[index + 1 : index + 10]]
    return any(word == "every" and after in _TIMES for word, after in zip(words, words[1:], strict=False))


def _is_participle(tokens, index):
    """Whether "read" is the participle of "have read" or "was read"."""
    if index and tokens[index - 1].text.lower() in ("widely", "well", "wide"):
        return True
    for back in range(index - 1, max(-1, index - 5), -1):
        word = tokens[back].text.lower()
        if word in _PERFECT:
            return True
        if word not in _WITHIN_PERFECT:
            return False
    return False


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
    present = {token.text.lower() for token in tokens}
    if not present.isdisjoint(_RETAGGED):
        _retag(tokens)
    ruled = present.intersection(_COMPILED)
    if ruled:
        text, starts = "", {}
        for token in tokens:
            starts[len(text)] = token
            text += token.text + token.whitespace
        for word in ruled:
            for pattern, american_phonemes, british_phonemes in _COMPILED[word]:
                for match in pattern.finditer(text):
                    token = starts.get(match.start(1))
                    if token is not None and token.phonemes is None:
                        _give(token, british_phonemes if british else american_phonemes)
    if not present.isdisjoint(_MEANT):
        _by_meaning(tokens, british)
