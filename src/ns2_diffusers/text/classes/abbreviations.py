"""Abbreviations: their expansions, and whether their full stop also ends the sentence."""

from __future__ import annotations

import re

from .common import any_of, rule

# Titles that stand before a capitalised name.
_TITLES = {
    "mr": "Mister",
    "mrs": "Misses",
    "ms": "Miz",
    "mx": "Mix",
    "dr": "Doctor",
    "drs": "Doctors",
    "prof": "Professor",
    "st": "Saint",
    "ste": "Sainte",
    "mt": "Mount",
    "mts": "Mountains",
    "ft": "Fort",
    "gen": "General",
    "gov": "Governor",
    "sen": "Senator",
    "rep": "Representative",
    "capt": "Captain",
    "lt": "Lieutenant",
    "col": "Colonel",
    "sgt": "Sergeant",
    "cmdr": "Commander",
    "cdr": "Commander",
    "rev": "Reverend",
    "hon": "Honorable",
    "pres": "President",
    "supt": "Superintendent",
    "cpl": "Corporal",
    "pvt": "Private",
    "pfc": "Private First Class",
    "maj": "Major",
    "adm": "Admiral",
    "fr": "Father",
    "msgr": "Monsignor",
    "atty": "Attorney",
    "messrs": "Messieurs",
    "mme": "Madame",
    "mlle": "Mademoiselle",
    "brig": "Brigadier",
    "cong": "Congressman",
    "amb": "Ambassador",
    "det": "Detective",
    "insp": "Inspector",
    "sr": "Senior",
    "sec": "Secretary",
    "treas": "Treasurer",
    "cllr": "Councillor",
    "ald": "Alderman",
    "asm": "Assemblyman",
    "dep": "Deputy",
    "comdr": "Commander",
    "ofc": "Officer",
    "abp": "Archbishop",
    "bp": "Bishop",
    "ens": "Ensign",
    "spc": "Specialist",
    "ssgt": "Staff Sergeant",
    "tsgt": "Technical Sergeant",
    "msgt": "Master Sergeant",
    "sfc": "Sergeant First Class",
}
# Without a full stop these are other words or names.
_NEED_STOP = frozenset(
    "gen gov rep col hon pres maj fr rev sen ft adm cong det sr amb mix st mt ste ms mts sec ald asm dep bp ens "
    "spc".split()
)
# Expanded with a full stop, whatever follows; those of the second table only before a number.
_WORDS = {
    "jr": "Junior",
    "sr": "Senior",
    "ltd": "Limited",
    "inc": "Incorporated",
    "corp": "Corporation",
    "bros": "Brothers",
    "dept": "Department",
    "dept's": "Department's",
    "univ": "University",
    "assn": "Association",
    "assoc": "Association",
    "govt": "Government",
    "intl": "International",
    "natl": "National",
    "approx": "approximately",
    "est": "established",
    "vs": "versus",
    "v": "versus",
    "cf": "compare",
    "viz": "namely",
    "incl": "including",
    "excl": "excluding",
    "misc": "miscellaneous",
    "min": "minimum",
    "max": "maximum",
    "avg": "average",
    "temp": "temperature",
    "tel": "telephone",
    "esp": "especially",
    "orig": "originally",
    "prob": "probably",
    "appt": "appointment",
    "apts": "apartments",
    "bldg": "Building",
    "mgr": "manager",
    "mgmt": "management",
    "asst": "assistant",
    "dist": "district",
    "exec": "executive",
    "dir": "director",
    "mfg": "manufacturing",
    "resp": "respectively",
    "co": "Company",
    "etc": "etc",
    "et al": "et al",
    "hwy": "Highway",
    "wt": "weight",
    "qty": "quantity",
    "tbsp": "tablespoon",
    "tsp": "teaspoon",
    "lbs": "pounds",
    "ft": "feet",
    "hrs": "hours",
    "mins": "minutes",
    "secs": "seconds",
    "yrs": "years",
    "acct": "account",
    "accts": "accounts",
    "appts": "appointments",
    "cnr": "corner",
    "mtg": "meeting",
    "mtgs": "meetings",
    "pkg": "package",
    "pkgs": "packages",
    "yds": "yards",
    "amt": "amount",
    "amts": "amounts",
    "bal": "balance",
    "pmt": "payment",
    "pmts": "payments",
    "addl": "additional",
    "recd": "received",
    "sched": "schedule",
    "svc": "service",
    "svcs": "services",
    "utd": "United",
    "ctr": "Center",
    "ctrs": "Centers",
    "hosp": "Hospital",
    "elem": "Elementary",
    "twp": "Township",
    "orch": "Orchestra",
    "symph": "Symphony",
    "occ": "occupancy",
    "fwd": "forward",
    "attn": "attention",
    "encl": "enclosed",
    "cont": "continued",
    "cont'd": "continued",
    "hols": "holidays",
    "utils": "utilities",
    "gdns": "Gardens",
    "ltr": "letter",
    "supv": "supervisor",
}
# Contracted within the word; nobody says the apostrophe.
CONTRACTED = {
    "req'd": "required",
    "pref'd": "preferred",
    "rec'd": "received",
    "add'l": "additional",
    "gov't": "government",
    "govn't": "government",
    "int'l": "international",
    "nat'l": "national",
    "dep't": "department",
    "ass'n": "association",
    "ass't": "assistant",
    "sec'y": "secretary",
    "cont'd": "continued",
    "com'l": "commercial",
    "fin'l": "financial",
    "prof'l": "professional",
    "reg'l": "regional",
    "rep'd": "reported",
    "est'd": "established",
    "add'n": "addition",
    "mem'l": "memorial",
    "gen'l": "general",
    "pub'd": "published",
    "b'day": "birthday",
    "b'fast": "breakfast",
}
# Expanded without a full stop too, except in capitals: none of these can be pronounced.
BARE_WORDS = {
    **{
        word: _WORDS[word]
        for word in "acct accts appt appts approx asst bldg cnr dept govt hrs intl lbs mfg mgmt mgr mtg mtgs natl "
        "pkg pkgs qty tbsp tsp univ yds yrs amt amts attn pmt pmts recd sched svc svcs utd ctr ctrs twp".split()
    },
    "wk": "week",
    "wks": "weeks",
    "qtr": "quarter",
    "qtrs": "quarters",
    "tix": "tickets",
    "sry": "sorry",
    "bday": "birthday",
    "bdays": "birthdays",
    "bfast": "breakfast",
    "prolly": "probably",
    "tmw": "tomorrow",
    "tmr": "tomorrow",
    "tonite": "tonight",
    "txt": "text",
    "txts": "texts",
    "yest": "yesterday",
    "wkly": "weekly",
    "qtrly": "quarterly",
    "btwn": "between",
    "msg": "message",
    "msgs": "messages",
    "pls": "please",
    "plz": "please",
    "ppl": "people",
    "thx": "thanks",
    "tmrw": "tomorrow",
    "wknd": "weekend",
    "abbr": "abbreviation",
    "addnl": "additional",
    "agcy": "agency",
    "anniv": "anniversary",
    "arpt": "airport",
    "bdrm": "bedroom",
    "bdrms": "bedrooms",
    "bthrm": "bathroom",
    "bldgs": "buildings",
    "bcuz": "because",
    "bcoz": "because",
    "brkfst": "breakfast",
    "chg": "change",
    "chgs": "charges",
    "chmn": "chairman",
    "choc": "chocolate",
    "clsd": "closed",
    "cmte": "committee",
    "contd": "continued",
    "dbl": "double",
    "dlvy": "delivery",
    "dwntn": "downtown",
    "dtwn": "downtown",
    "elec": "electric",
    "emerg": "emergency",
    "equiv": "equivalent",
    "exch": "exchange",
    "fcst": "forecast",
    "fdn": "foundation",
    "flr": "floor",
    "flrs": "floors",
    "fmr": "former",
    "fplc": "fireplace",
    "freq": "frequency",
    "frzn": "frozen",
    "furn": "furnished",
    "govs": "governors",
    "gvt": "government",
    "hdwd": "hardwood",
    "hgt": "height",
    "hrly": "hourly",
    "hse": "house",
    "hwys": "highways",
    "illus": "illustrated",
    "impt": "important",
    "indiv": "individual",
    "instr": "instructor",
    "jct": "junction",
    "lic": "license",
    "lndry": "laundry",
    "lrg": "large",
    "lwr": "lower",
    "maint": "maintenance",
    "mdse": "merchandise",
    "mfr": "manufacturer",
    "mfrs": "manufacturers",
    "mkt": "market",
    "mkts": "markets",
    "mktg": "marketing",
    "mstr": "master",
    "mtn": "mountain",
    "mtns": "mountains",
    "nbhd": "neighborhood",
    "nbr": "number",
    "optl": "optional",
    "ppd": "prepaid",
    "prev": "previous",
    "pymt": "payment",
    "pymts": "payments",
    "pts": "points",
    "rcpt": "receipt",
    "rcvd": "received",
    "reqd": "required",
    "rly": "really",
    "rms": "rooms",
    "rnd": "round",
    "rsvd": "reserved",
    "sgl": "single",
    "shld": "should",
    "shpg": "shipping",
    "sml": "small",
    "smth": "something",
    "spkr": "speaker",
    "srsly": "seriously",
    "std": "standard",
    "sth": "something",
    "stmt": "statement",
    "stmts": "statements",
    "stn": "station",
    "svgs": "savings",
    "tbl": "table",
    "tbls": "tables",
    "thnx": "thanks",
    "tnx": "thanks",
    "tkts": "tickets",
    "txn": "transaction",
    "txns": "transactions",
    "vlg": "village",
    "vly": "valley",
    "whse": "warehouse",
    "wkday": "weekday",
    "wkdays": "weekdays",
    "wkends": "weekends",
    "wknds": "weekends",
    "wld": "would",
    "cld": "could",
    "wtr": "water",
    "xfer": "transfer",
    "xtra": "extra",
    "yday": "yesterday",
    "yrly": "yearly",
    "vis": "visibility",
    "baro": "barometer",
    "hdcp": "handicap",
    "abt": "about",
    "srry": "sorry",
    "idx": "index",
    "lbl": "label",
    "pkts": "packets",
    "mgrs": "managers",
    "acctg": "accounting",
    "atty": "attorney",
    "attys": "attorneys",
    "bkgd": "background",
    "bkfst": "breakfast",
    "brdg": "bridge",
    "bsmt": "basement",
    "cncl": "cancel",
    "cncld": "canceled",
    "cntr": "counter",
    "cnty": "county",
    "cpns": "coupons",
    "crnr": "corner",
    "dctr": "doctor",
    "dlvd": "delivered",
    "dnstrs": "downstairs",
    "upstrs": "upstairs",
    "dpt": "department",
    "engr": "engineer",
    "engrs": "engineers",
    "engrg": "engineering",
    "grp": "group",
    "grps": "groups",
    "hldg": "holding",
    "hndbk": "handbook",
    "ktchn": "kitchen",
    "lvg": "living",
    "mbr": "member",
    "mbrs": "members",
    "mnthly": "monthly",
    "nxt": "next",
    "prblm": "problem",
    "prblms": "problems",
    "prkg": "parking",
    "prgm": "program",
    "prsnl": "personal",
    "rgstn": "registration",
    "rgds": "regards",
    "rtn": "return",
    "rtns": "returns",
    "schl": "school",
    "sctn": "section",
    "smthg": "something",
    "spcl": "special",
    "spcls": "specials",
    "stds": "standards",
    "strg": "storage",
    "tdy": "today",
    "tmrrw": "tomorrow",
    "tomoz": "tomorrow",
    "trfr": "transfer",
    "wthr": "weather",
    "ystrdy": "yesterday",
    "frgt": "freight",
    "hdqrs": "headquarters",
    "blk": "black",
    "wht": "white",
    "grn": "green",
    "brn": "brown",
    "slvr": "silver",
    "pnk": "pink",
    "yllw": "yellow",
}
# With a capital these may be names.
CHAT = frozenset("smth sth rly wld cld shld sry tix wtr hse vly".split())
# Initials that are written in lower case and spelled.
_LOWER_INITIALS = frozenset(
    "tysm gtg wya hbu wbu gn gm tfw fr rn atm rofl ily ty kk np imo ftw bff bffs ootd tgif ttys lmfao afk rgb otp "
    "fb ig "
    "kyc ama tmi "
    "mfw nbd ofc ppv sms tba tbc tbt ymmv lmao "
    "byob afaik afk brb dm faq fwiw fyi gtg hmu icymi idc idk iirc ikr irl jk lmk ngl nsfw nvm omg omw pdf pto rsvp "
    "smh tbd tbf tbh tldr ttyl url wfh wtf wyd".split()
)
_NUMBERED = {
    "fig": "figure",
    "figs": "figures",
    "eq": "equation",
    "eqs": "equations",
    "vol": "volume",
    "vols": "volumes",
    "ch": "chapter",
    "chs": "chapters",
    "sec": "section",
    "sect": "section",
    "art": "article",
    "p": "page",
    "pp": "pages",
    "pg": "page",
    "par": "paragraph",
    "para": "paragraph",
    "ext": "extension",
    "ed": "edition",
    "no": "number",
    "nos": "numbers",
    "apt": "apartment",
    "ste": "suite",
    "rm": "room",
    "bldg": "building",
    "rte": "route",
    "rt": "route",
    "hwy": "highway",
    "tab": "table",
    "ver": "version",
    "ca": "circa",
    "c": "circa",
    "circ": "circa",
    "tel": "telephone",
    "op": "opus",
    "lot": "lot",
    "flt": "flight",
    "st": "stanza",
    "pt": "part",
    "app": "appendix",
    "ex": "example",
    "nr": "number",
    "mk": "mark",
    "abt": "about",
    "approx": "approximately",
    "wk": "week",
    "q": "question",
    "rev": "revision",
    "inv": "invoice",
    "conf": "confirmation",
    "cust": "customer",
    "tkt": "ticket",
    "ref": "reference",
    "acct": "account",
    "cat": "category",
    "dep": "departs",
    "arr": "arrives",
    "div": "division",
    "sched": "schedule",
    "bk": "book",
    "ep": "episode",
    "ln": "line",
    "prop": "proposition",
    "yr": "year",
    "gr": "grade",
    "lvl": "level",
    "blk": "block",
    "grp": "group",
    "pop": "population",
    "elev": "elevation",
    "dist": "district",
    "sz": "size",
    "plat": "platform",
}
_NUMBERED_WITH_STOP = frozenset("conf cust ref acct div sched bk ep ln prop yr gr grp pop elev dist".split())
# Before "#" or "no.", which is said too.
_DOCUMENTS = frozenset("inv conf cust tkt ref acct cat".split())
_NUMBERED_WITHOUT_STOP = frozenset(
    "fig figs eq vol pp pg ext apt ste rm bldg rte hwy approx flt nr mk vols lvl sz blk plat".split()
)
# Written in capitals in the middle of a sentence, and spoken as words.
_PHRASES = {
    "AKA": "also known as",
    "BTW": "by the way",
    "IMO": "in my opinion",
    "IMHO": "in my humble opinion",
    "TBD": "to be determined",
    "TBA": "to be announced",
    "ETC": "etc",
    "VS": "versus",
}
_MIXED = {
    "w/o": "without",
    "w/": "with",
    "b/c": "because",
    "b/w": "between",
    "c/o": "care of",
    "n/a": "N A",
    "p/e": "P E",
    "y/y": "year over year",
    "q/q": "quarter over quarter",
    "m/m": "month over month",
    "w/w": "week over week",
    "d/d": "day over day",
    "hi/lo": "high low",
    "lo/hi": "low high",
    "s/he": "she or he",
    "w/i": "within",
    "w/in": "within",
    "a/c": "A C",
    "d/c": "D C",
    "i/o": "I O",
    "f/t": "full time",
    "p/t": "part time",
    "f/u": "follow up",
    "p/u": "pick up",
    "y/o": "year old",
    "d/b/a": "doing business as",
    "f/k/a": "formerly known as",
    "n/k/a": "now known as",
    "t/a": "trading as",
    "h/t": "hat tip",
    "o/w": "otherwise",
    "r/o": "rule out",
    "s/p": "status post",
    "h/o": "history of",
    "j/k": "just kidding",
    "d/t": "due to",
    "and/or": "and or",
    "24/7": "twenty four seven",
}
_STREET_BEFORE = re.compile(r"(?:\b[A-Z][\w']*|\b[A-Z][a-z]+[ ][NSEW]\.|\b\d+(?:st|nd|rd|th))[ ]\Z")
_NOT_A_STREET = re.compile(
    r"\b(?:The|A|An|My|Our|Your|His|Her|Their|This|That|Dear|And|But|Hi|Hello|Yes|No|With|To|See|Of|In|At|On|From|"
    r"By|For"
    r"|Near|When|Then|Thank|Thanks|I|He|She|We|They|As|If|So|Is|Was|Did|Ask|Call|Meet|Visit|"
    r"Does|Like|Old|Both|Saint)[ ]\Z"
)


def is_street(context, start: int, end: int) -> bool:
    """Whether "St." or "Dr." is a street: after a name or ordinal, and not before the name of a person or saint."""
    before = context.before(start, 30)
    if not _STREET_BEFORE.search(before) or _NOT_A_STREET.search(before):
        return False
    if re.search(r"\d[ ](?:[NSEW]\.?[ ])?(?:[A-Z0-9][\w']*[ ]){1,3}\Z", before):
        return True
    if re.compile(r"\s*$|[,;:!?)\"']|[ ][a-z\d(&]").match(context.text, end):
        return True
    return context.ends_sentence(end)


# "Mr. and Mrs. Lee"
_PAIRED = frozenset("mr mrs ms dr drs prof messrs mx".split())
# "Sec. of State" is an office, not a section.
_OFFICE = re.compile(r"[ ]of[ ](?:the[ ])?[A-Z]")
# "the Lt. saluted"
_ALONE = frozenset("lt sgt capt cpl maj gov sen prof cmdr cdr".split())
_PERSON_BEFORE = re.compile(r"(?:\b(?:[Tt]he|[Aa]|[Hh]is|[Hh]er|[Oo]ur|[Tt]heir|[Mm]y)|\d(?:st|nd|rd|th))[ ]\Z")


@rule(
    "abbreviation",
    r"(?P<word>[A-Za-z]{2,6})(?P<stop>\.?)(?![\w])(?=[ ]{1,2}[\"'(]?(?P<next>[^\W_][\w']*)(?P<dot>\.?))",
)
def title(match, context):
    """Dr. Smith, St. Paul, MR. JONES"""
    word, stop = match["word"], match["stop"]
    lower = word.lower()
    spoken = _TITLES[lower]
    if stop and lower in _PAIRED and match["next"] in ("and", "or"):
        return spoken
    if stop and lower == "sec" and word[0].isupper() and _OFFICE.match(context.text, match.end()):
        return spoken
    if stop and lower in _ALONE and word.istitle() and match["next"][0].islower():
        return spoken if _PERSON_BEFORE.search(context.before(match.start(), 8)) else None
    if (
        not (match["next"][0].isupper() or re.match(r"(?:1st|2nd|3rd)\Z", match["next"]))
        or word.islower()
        and lower not in ("dr", "mr", "mrs", "ms", "prof", "st")
    ):
        return None
    if not stop and (
        lower in _NEED_STOP
        and not (lower in ("st", "ms", "mt") and word[1:].islower() and word[0].isupper())
        or word.isupper()
        and lower not in ("mr", "mrs", "dr")
    ):
        return None
    if lower in ("st", "dr") and is_street(context, match.start(), match.end()):
        return None
    if lower == "sr" and re.search(r"\b[A-Z][\w']*,?[ ]\Z", context.before(match.start(), 20)):
        return None
    if (
        lower in ("ft", "mt", "sr", "ms", "col")
        and not (lower == "mt" and word == "Mt" and stop)
        and re.search(r"\d[ ]?\Z", context.before(match.start(), 3))
    ):
        return None
    if lower in ("mrs", "mr", "ms", "dr", "mx"):
        return spoken
    if lower in ("sec", "dep", "ens", "asm") and re.search(r"\d[ ]\Z", context.before(match.start(), 3)):
        return None  # "40 sec. Then"
    if (
        stop
        and context.ends_sentence(match.end())
        and re.search(r"\b[a-z]+[ ]\Z", context.before(match.start(), 12))
        and lower in ("gen", "rep", "hon", "pres", "det")
    ):
        return None
    return spoken


@rule("abbreviation", r"(?P<word>[A-Za-z]{1,7})(?P<stop>\.)(?![\w])")
def word_with_stop(match, context):
    """Inc., approx., etc."""
    word = match["word"]
    lower = word.lower()
    if not (word.islower() or word.isupper() or word.istitle()):
        return None  # "34 HRs" are home runs
    spoken = _WORDS[lower]
    if lower == "incl":
        if context.before(match.start(), 4).lower() == "all-":
            return "inclusive"
        if ends_clause(context, match.end()) or context.ends_sentence(match.end()):
            return "included" + context.stop(match)
    if lower in ("vs", "v", "cf", "viz", "esp", "approx", "incl", "excl") and not ends_clause(context, match.end()):
        if lower != "v":
            return _like(word, spoken)
    if lower == "est" and _ESTIMATE.match(context.text, match.end()):
        return _like(word, "estimated")
    following = context.text[match.end() : match.end() + 2].strip()
    ends = context.ends_sentence(match.end())
    if lower in (
        "co",
        "max",
        "min",
        "temp",
        "est",
        "v",
        "dir",
        "prob",
        "resp",
        "dist",
        "exec",
        "tel",
        "sr",
        "ft",
        "corp",
        "inc",
        "ltd",
        "bal",
        "occ",
    ):
        if lower in ("max", "min", "temp", "est", "dir", "prob", "exec", "dist", "tel", "bal", "occ") and (
            ends or not (following[:1].islower() or following[:1].isdigit() or following[:1] in tuple("$£€~"))
        ):
            return None
        if (
            lower == "v"
            and (
                word == "V"  # as in Rocky V
                or not (
                    following[:1].isupper()
                    and re.search(r"\b[A-Z][\w.]*[ ]\Z", context.before(match.start(), 20))
                    or following[:1] in tuple("$£€")
                    and re.search(r"\d\w{0,2}[ ]\Z", context.before(match.start(), 4))
                )
            )
        ):
            return None
        if lower in ("co", "sr", "ltd", "corp", "inc") and not word[0].isupper() or lower == "ft":
            return None
    if lower in ("lbs", "hrs", "mins", "secs", "yrs", "tsp", "tbsp") and ends:
        return spoken + "."
    is_strong = lower in ("etc", "inc", "ltd", "corp") and False
    return _like(word, spoken) + context.stop(match, is_strong)


def ends_clause(context, end):
    return bool(re.compile(r"\s*$|[ ]?[),;:!?\"\]]|[ ](?:and|or)[ ]").match(context.text, end))


# "Est." before a year is "established".
_ESTIMATE = re.compile(
    r"[ ](?:delivery|time|arrival|cost|value|wait|completion|price|total|reading|[~$£€]|(?!1[5-9]\d\d|20\d\d)\d)"
)


@rule("abbreviation", r"(?P<word>[A-Za-z]{2,7})(?![\w'-]|\.\w)(?P<stop>(?:\.(?!\.))?)")
def bare_word(match, context):
    """ppl, mtg"""
    word = match["word"]
    if not (word.islower() or word.istitle() and word.lower() not in CHAT):
        return None
    return _like(word, BARE_WORDS[word.lower()]) + context.stop(match)


@rule("letters", r"(?P<word>[a-z]{2,5})(?P<s>'?s)?(?![\w])(?!\.\w)")
def lower_initials(match, context):
    """omg, idk"""
    word = match["word"]
    # "$5 fr", "2 gm": units and languages
    if word in ("fr", "gm", "ty", "kk", "atm") and re.search(r"\d[ ]?\Z", context.before(match.start(), 2)):
        return None
    return word.upper() + (match["s"] or "")


@rule("abbreviation", r"(?:tn|bc)(?![\w'.-])")
def texted_word(match, context):
    """cu tn, bc I said so"""
    if match[0] == "tn":
        return "tonight" if context.word_before(match.start()) else None
    return "because" if context.word_after(match.end()) else None


@rule("abbreviation", rf"(?P<word>{any_of(CONTRACTED)})(?![\w'])", re.IGNORECASE)
def contracted(match, context):
    """req'd, gov't"""
    return _like(match["word"], CONTRACTED[match["word"].lower()])


_COUNTED_BEFORE = re.compile(
    r"\b(?:order|account|acct\.?|phone|telephone|part|serial|model|reference|ref\.?|tracking|invoice|ticket|case|"
    r"claim|"
    r"policy|membership|passport|flight|room|registration|licence|license|id|fax|mobile|vat)[ ]\Z",
    re.IGNORECASE,
)


@rule("abbreviation", r"no\.(?=[ ][a-z])", re.IGNORECASE)
def number_of(match, context):
    """your order no. is"""
    return "number" if _COUNTED_BEFORE.search(context.before(match.start(), 20)) else None


@rule("abbreviation", r"[Ff]l(?P<stop>\.?)(?![\w'])")
def floor(match, context):
    """2nd Fl."""
    if not re.search(r"\d(?:st|nd|rd|th)[ ]\Z", context.before(match.start(), 6)):
        return None
    return _like(match[0], "floor") + context.stop(match)


def _like(word, spoken):
    return spoken if word.isupper() or word[0].islower() else spoken[0].upper() + spoken[1:]


@rule("abbreviation", r"(?P<word>[A-Za-z]{1,6})(?P<stop>\.?)[ ]?(?=#?[\dIVXL])(?![IVXL]+[a-z])")
def before_number(match, context):
    """Fig. 3, pp. 5-10, ca. 1900"""
    word, lower = match["word"], match["word"].lower()
    if not match["stop"]:
        if (
            lower == "cat"
            and word == "Cat"
            and re.compile(r"[1-5][ ](?:hurricane|storm|cyclone|typhoon|\d)").match(context.text, match.end())
        ):
            return "Category "
        if lower == "sec" and re.compile(r"\d{1,4}[A-Z]?,?[ ](?:[Rr]ow|[Ss]eat)").match(context.text, match.end()):
            return _like(word, "section ")
        if lower not in _NUMBERED_WITHOUT_STOP or not match[0].endswith(" ") or lower == "mk" and word.islower():
            return None
    numeral = context.text[match.end()]
    if not numeral.isdigit() and numeral != "#":
        if lower not in ("vol", "ch", "pt", "art", "sec", "fig", "bk", "mk", "no", "app", "vols") or not re.compile(
            r"(?!I[ ][a-z])[IVXL]+(?![\w'])"
        ).match(context.text, match.end()):
            return None
    if lower in ("c", "ca", "circ") and not re.compile(r"\d{3,4}\b|\d+(?:st|nd|rd|th)|\d+,\d").match(
        context.text, match.end()
    ):
        return None
    if (
        lower in ("art", "tab", "no", "nos", "lot", "app", "ex", "par", "para", "p", "st", "q", "ed", "pt", "wk")
        and lower not in ("no", "nos", "p", "art")
        and not match["stop"]
    ):
        return None
    if lower in ("st",):
        return None
    if lower == "rev" and re.search(r"[$£€]|\d[%xX]", context.text[match.end() : match.end() + 8]):
        return None
    if lower == "cat" and not (
        re.compile(r"[1-5](?!\w|\.\d)").match(context.text, match.end())
        and (
            word[0].isupper()
            or re.compile(r"\d[ ](?:hurricane|storm|cyclone|typhoon)").match(context.text, match.end())
        )
    ):
        return "category" if numeral == "#" else None
    if lower == "pt" and context.word_before(match.start()) in _POINTS:
        return "point"
    if lower in ("dep", "arr") and not re.compile(r"[012]?\d(?::\d\d|[ ]?[ap]\.?m?\b)").match(
        context.text, match.end()
    ):
        return None
    if lower in _NUMBERED_WITH_STOP and (not match["stop"] or lower in ("gr", "pop", "prop") and word.islower()):
        return None
    end = match.end()
    if numeral == "#" and lower not in _DOCUMENTS:
        end += 1
    return _like(word, _NUMBERED[lower]), end


LETTERED = {
    "grp": "group",
    "blk": "block",
    "bldg": "building",
    "rm": "room",
    "ste": "suite",
    "apt": "apartment",
    "fig": "figure",
    "sec": "section",
    "sect": "section",
    "app": "appendix",
    "lvl": "level",
    "plat": "platform",
    "tbl": "table",
    "cat": "category",
    "div": "division",
    "hep": "hepatitis",
    "vit": "vitamin",
    "vits": "vitamins",
    "ex": "exhibit",
    "pt": "part",
    "gp": "group",
    "lot": "lot",
    "ward": "ward",
}


@rule("abbreviation", r"(?P<word>[A-Za-z]{2,4})(?P<stop>\.?)[ ](?=[A-HJ-Z]\d{0,3}(?![\w'.]|-\w)|[A-HJ-Z]\.(?=\s*$))")
def before_letter(match, context):
    """Grp B, Apt. C, Vit. D"""
    word, lower = match["word"], match["word"].lower()
    if (
        word.isupper()
        or not match["stop"]
        and (lower in ("sec", "app", "ex", "pt", "cat", "div", "lot", "ward") or word.islower())
    ):
        return None
    return _like(word, LETTERED[lower]) + " "


# "Dew pt. 55" is no part.
_POINTS = frozenset("dew boiling melting freezing match set pressure talking focal selling".split())


@rule("abbreviation", r"(?P<word>[A-Za-z]{3,4})\.?(?=[ ](?:[Nn]os?\.[ ]?[\dA-Z]|#[ ]?[A-Z\d]))")
def document(match, context):
    """Inv. no. 2093"""
    return _like(match["word"], _NUMBERED[match["word"].lower()])


@rule("abbreviation", r"(?P<word>reg|cor|dep|arr)\.(?=[ ](?P<next>[\w$£€~]+))", re.IGNORECASE)
def by_what_follows(match, context):
    """Reg. $59, cor. of 5th and Main, dep. JFK"""
    word, following = match["word"].lower(), match["next"]
    if word == "reg":
        spoken = "regularly" if following[0] in "$£€" else "regular" if following in _REGULAR else None
    elif word == "cor":
        is_place = (
            following == "of"
            or context.before(match.start(), 3).endswith((" ", ""))
            and (following[0].isupper() or following[0].isdigit())
        )
        spoken = "corner" if is_place else None
    else:
        is_airport = len(following) == 3 and following.isupper()
        spoken = ("departs" if word == "dep" else "arrives") if is_airport else None
    return spoken and _like(match["word"], spoken)


_REGULAR = frozenset("price prices size fee hours season retail rate coffee".split())


@rule("abbreviation", r"var(?P<stop>\.?)(?=[)\]]|\s*$|[,;]|\.)", re.IGNORECASE)
def variable(match, context):
    """APR 24.99% var."""
    if not re.search(r"%[ ](?:APR[ ])?\(?\Z", context.before(match.start(), 8)):
        return None
    return "variable" + context.stop(match)


# A dose: "1 tab. daily", "2 caps PO".
_DOSE_AFTER = re.compile(
    r"[ ](?:p\.?o\.?|by mouth|b\.?i\.?d|t\.?i\.?d|q\.?i\.?d|q\.?d|q\d|qhs|prn|daily|nightly|once|twice|every|w/|"
    r"with|per|a day|"
    r"each|before|after|at bedtime|in the|three|four)",
    re.IGNORECASE,
)
_DOSES = {"tab": "tablet", "cap": "capsule", "inj": "injection", "supp": "suppository", "gtt": "drop"}


@rule("abbreviation", r"(?P<word>tab|cap|inj|supp|gtt)(?P<s>s?)(?P<stop>\.?)(?![\w'-])", re.IGNORECASE)
def dose(match, context):
    """Take 1 tab. daily"""
    if not re.search(r"(?:\d|\b(?:one|two|half|a))[ ]\Z", context.before(match.start(), 6), re.IGNORECASE):
        return None
    if not _DOSE_AFTER.match(context.text, match.end()):
        return None
    return _DOSES[match["word"].lower()] + match["s"].lower()


_PATIENT_AFTER = re.compile(
    r"[ ](?:c/o|presents?|presented|denies|denied|reports?|reported|states|stated|complains|complained|"
    r"tolerated|was seen|"
    r"seen|admitted|is a \d|will (?:return|follow)|instructed|advised|has (?:a )?h/o|in no)\b"
)


@rule("abbreviation", r"[Pp]t\.?(?![\w'-])")
def patient(match, context):
    """Pt. c/o chest pain"""
    if not _PATIENT_AFTER.match(context.text, match.end()):
        return None
    return _like(match[0], "patient")


@rule("abbreviation", r"(?P<word>lg|lrg|med|sm|sml|xl|xlg|lge)\.?(?=[ ][a-z]|,[ ][a-z])", re.IGNORECASE)
def size_word(match, context):
    """4 lg. eggs, a med. onion"""
    if not match[0].endswith(".") and match["word"] not in ("lg", "lrg", "med", "sm", "lge"):
        return None
    if not re.search(
        r"(?:\d|\b(?:an?|one|two|three|four|five|six|few|some|each|per))[ ]\Z", context.before(match.start(), 7), re.I
    ):
        return None
    return {"l": "large", "m": "medium", "s": "small", "x": "extra large"}[match["word"][0].lower()]


@rule(
    "abbreviation",
    r"rd\.?(?=[ ](?:picks?|draft|of|games?|KO|match|bye|leader|loss|win|exit|matchup|TKO|knockout)(?!\w))",
    re.I,
)
def round_of(match, context):
    """1st rd. pick"""
    return "round" if re.search(r"\d(?:st|nd|rd|th)[ -]\Z", context.before(match.start(), 5)) else None


@rule(
    "abbreviation", r"med(?:(?=-(?:high|low|rare|well|hot|sized?)(?!\w))|\.?(?=[ ](?:heat|flame|speed)(?!\w)))", re.I
)
def medium(match, context):
    """med-high, over med. heat"""
    return "medium"


@rule("abbreviation", r"adv\.?(?![\w'])(?P<next>[ ]\d|)", re.I)
def advisory(match, context):
    """Frost adv."""
    if context.word_before(match.start()) not in _WEATHER:
        return None
    end = match.start("next")
    return "advisory" + ("." if context.text[end - 1] == "." and context.ends_sentence(end) else ""), end


_WEATHER = frozenset(
    "frost freeze wind heat winter weather flood fog air surf travel snow ice dust smoke lake storm".split()
)


@rule("abbreviation", r"mi\.?(?=[ ]markers?(?!\w))", re.I)
def mile_marker(match, context):
    return "mile"


@rule("abbreviation", r"ea(?P<stop>\.?)(?![\w'-])")
def each(match, context):
    """2 @ $3.99 ea."""
    if not match["stop"] and not re.search(
        r"[\d¢%][ ]\Z|\b(?:cents|lb|oz|pc|pk)\.?[ ]\Z", context.before(match.start(), 7)
    ):
        return None
    return "each" + context.stop(match)


_PERIOD_BEFORE = re.compile(
    r"\b(?:(?P<of>of)|per|each|every|this|next|last|past|other|prev\.?|(?P<a>a)|(?P<the>the))[ ]\Z", re.IGNORECASE
)
PERIODS = {
    "mo": "month",
    "yr": "year",
    "wk": "week",
    "hr": "hour",
    "qtr": "quarter",
    "min": "minute",
    "sec": "second",
}


@rule("abbreviation", r"(?P<word>mo|yr|wk|hr|qtr|min|sec)(?P<stop>\.?)(?![\w'-])")
def period(match, context):
    """1st of mo., every other wk, this yr"""
    word, before = match["word"], _PERIOD_BEFORE.search(context.before(match.start(), 8))
    if before is None or word in ("min", "sec") and (before["of"] or before["the"]):
        return None
    if before["a"] and (word == "mo" and not match["stop"] or word in ("min", "sec")):
        return None
    return PERIODS[word] + context.stop(match)


@rule("abbreviation", r"(?P<word>Yo[Yy]|Qo[Qq]|Mo[M])(?![\w'])")
def growth(match, context):
    """+3.1% YoY"""
    period = {"Y": "year", "Q": "quarter", "M": "month"}[match["word"][0]]
    return f"{period} over {period}"


@rule("abbreviation", r"(?P<word>Gov|Sen|Rep|Pres)\.-elect(?!\w)")
def elect(match, context):
    """Gov.-elect"""
    return f"{_TITLES[match['word'].lower()]}-elect"


@rule("abbreviation", r"Sec(?:'?y|t?)\.?-Gen(?:'l|\.|(?!\w))")
def secretary_general(match, context):
    """UN Sec.-Gen. Guterres"""
    return "Secretary-General"


@rule("abbreviation", r"[Tt]-storm(?P<s>s?)(?!\w)")
def thunderstorm(match, context):
    return f"thunderstorm{match['s']}"


@rule("letters", r"tl;?[ ]?dr(?!\w)", re.IGNORECASE)
def too_long(match, context):
    """TL;DR"""
    return "TLDR"


# Words of text messages with digits in them.
TEXTED = {
    "2nite": "tonight",
    "2night": "tonight",
    "2day": "today",
    "2moro": "tomorrow",
    "2morrow": "tomorrow",
    "2mrw": "tomorrow",
    "2mro": "tomorrow",
    "2gether": "together",
    "4ever": "forever",
    "4got": "forgot",
    "4give": "forgive",
    "4get": "forget",
    "some1": "someone",
    "sum1": "someone",
    "any1": "anyone",
    "every1": "everyone",
    "no1": "no one",
    "gr8ful": "grateful",
    "gr8est": "greatest",
    "l8ly": "lately",
    "h8s": "hates",
    "h8ers": "haters",
    "d8": "date",
    "sk8": "skate",
    "b4": "before",
    "gr8": "great",
    "l8": "late",
    "l8r": "later",
    "m8": "mate",
    "w8": "wait",
    "h8": "hate",
    "str8": "straight",
    "ur": "your",
    "urs": "yours",
}


@rule("abbreviation", rf"(?P<word>{any_of(TEXTED)})(?![\w'-]|\.\w)")
def texted(match, context):
    """gr8, b4, 2nite"""
    return TEXTED[match["word"]]


_FOR_BEFORE = frozenset(
    "thx thanks thank ty thnx waiting wait lookin looking ready pics pic gift gifts time place good gr8 great up "
    "down just all only love "
    "praying happy sorry sry here there cooking car card present cake".split()
)


@rule(
    "abbreviation",
    r"(?P<digit>[24])(?=[ ](?P<next>u|ur|me|us|ya|the|everything|coming|that|real|now|my|it|dinner|lunch|b|"
    r"c(?=[ ]u\b))(?![\w']))",
)
def texted_for(match, context):
    """thx 4 the ride, 2 b or not 2 b"""
    before, following = context.word_before(match.start()), match["next"]
    if match["digit"] == "2":
        return "to" if following in ("u", "b", "c", "me") and before not in ("", "b") or following == "b" else None
    return "for" if following in ("u", "ur", "ya") and before or before in _FOR_BEFORE else None


# Before a colon at the head of a line or clause.
LABELS = {
    **dict.fromkeys(("ref", "refs"), "reference"),
    **{
        "tel": "telephone",
        "exp": "expires",
        "temp": "temperature",
        "addr": "address",
        "ph": "phone",
        "loc": "location",
    },
    **{"ht": "height", "wt": "weight", "vol": "volume", "ext": "extension", "subj": "subject", "inv": "invoice"},
    **{"conf": "confirmation", "cust": "customer", "avg": "average", "min": "minimum", "max": "maximum"},
    **{
        "fwd": "forward",
        "est": "estimate",
        "dep": "departs",
        "arr": "arrives",
        "tot": "total",
        "bal": "balance",
        "dist": "distance",
    },
}


_CLAUSE_BEFORE = re.compile(r"(?:^|[.,;:!?(|\n\"'])\s*\Z")


@rule("abbreviation", r"(?P<word>[A-Za-z]{2,4})\.?(?=:[ ])")
def label(match, context):
    """Ref: 4417, Exp: 12/27"""
    word = match["word"]
    if word.isupper() or word.islower() and not _CLAUSE_BEFORE.search(context.before(match.start(), 4)):
        return None
    # Max and Min may be who speaks.
    if word.lower() in ("max", "min") and not re.compile(r":[ ][~$£€]?\d").match(context.text, match.end()):
        return None
    return _like(match["word"], LABELS[match["word"].lower()])


@rule("letters", r"(?P<word>ooo)(?![\w'])")
def out_of_office(match, context):
    """I'm ooo, not "ooo, nice"."""
    before = context.before(match.start(), 12)
    return (
        "OOO"
        if re.search(r"(?:\b(?:am|is|are|was|were|be|been|being|going)|'(?:m|s|re)|\bout)[ ]\Z", before)
        else None
    )


@rule("abbreviation", r"(?P<word>ed|eds|vols)(?P<stop>\.)(?=[)\]])", re.IGNORECASE)
def in_brackets(match, context):
    """(eds.)"""
    return {"ed": "editor", "eds": "editors", "vols": "volumes"}[match["word"].lower()]


@rule("abbreviation", r"(?:e\.?[ ]?g\.|E\.g\.|e\.g\b)(?P<comma>,?)(?!\w)")
def for_example(match, context):
    return f"for example{match['comma']}"


@rule("abbreviation", r"(?:i\.?[ ]?e\.|I\.e\.|i\.e\b)(?P<comma>,?)(?!\w)")
def that_is(match, context):
    return f"that is{match['comma']}"


@rule("abbreviation", r"(?:a\.?k\.a\.?|A\.K\.A\.?|a/k/a|aka|AKA)(?!\w)")
def also_known_as(match, context):
    return "also known as"


@rule("abbreviation", r"(?P<phrase>[A-Z]{2,4}|btw|imo|imho)(?!\w)")
def phrase(match, context):
    if match["phrase"].islower():
        return _PHRASES[match["phrase"].upper()]
    return _PHRASES.get(match["phrase"])


@rule(
    "abbreviation",
    rf"(?P<mixed>{'|'.join(re.escape(m) for m in sorted(_MIXED, key=len, reverse=True))})(?:(?<=/)|(?![\w/]))(?!/)",
    re.IGNORECASE,
)
def mixed(match, context):
    """w/, w/o, and/or"""
    if match["mixed"] == "W/" and re.compile(r"[A-Z](?![\w'])").match(context.text, match.end()):
        return None  # W/D, W/L
    if match["mixed"].lower() == "w/" and re.compile(r"e(?![\w'])", re.I).match(context.text, match.end()):
        return "whatever", match.end() + 1
    if match["mixed"].lower() == "c/o" and _SYMPTOM_BEFORE.search(context.before(match.start(), 12)):
        return "complains of"
    return _MIXED[match["mixed"].lower()]


@rule("abbreviation", r"(?P<word>Hi|Lo)(?=:?[ ][-−]?\d{1,3}(?:°|[CF](?!\w)|(?:[,;/]|$)))")
def high_or_low(match, context):
    """Hi 75°, Lo 58°"""
    return {"Hi": "High", "Lo": "Low"}[match["word"]]


_CLINICAL = {"Dx": "diagnosis", "Hx": "history", "Sx": "symptoms", "Tx": "treatment"}


@rule("abbreviation", r"(?P<word>Dx|Hx|Sx|Tx)(?=:|[ ](?:of|with|plan|for)\b)")
def clinical(match, context):
    """Hx of asthma"""
    return _CLINICAL[match["word"]]


_SYMPTOM_BEFORE = re.compile(r"\b(?:pt|patient|pts|male|female|who|she|he)\.?[ ]\Z", re.IGNORECASE)
_WEEKS = {"c": "commencing", "b": "beginning", "e": "ending"}


@rule("abbreviation", r"[Ww]/(?P<word>[CcBbEe])\.?(?=[ ](?P<next>[^\W_]+))")
def week_of(match, context):
    """w/c 12 Feb, w/e Friday"""
    from .dates import DAYS, MONTH_OF

    following = match["next"].lower()
    if not (following[0].isdigit() or following in MONTH_OF or following.removesuffix("day") in DAYS):
        return None
    return _like(match[0], f"week {_WEEKS[match['word'].lower()]}")


@rule("abbreviation", r"et[ ]al\.(?!\w)", re.IGNORECASE)
def et_al(match, context):
    return "et al" + context.stop(match)


@rule("abbreviation", r"(?P<word>vs|VS|Vs)(?![\w.])")
def versus(match, context):
    return "versus"


@rule("abbreviation", r"(?P<word>Jr|Sr)(?P<stop>\.?)(?!\w)")
def generation(match, context):
    """Martin Luther King Jr."""
    if match["word"] == "Sr" and not re.search(r"\b[A-Z][\w']*,?[ ]\Z", context.before(match.start(), 20)):
        return None
    return ("Junior" if match["word"] == "Jr" else "Senior") + context.stop(match)


@rule("abbreviation", r"Ctrl(?!\w)")
def control(match, context):
    return "Control"


@rule("abbreviation", r"(?P<letters>Ph\.?D|Ed\.D|Psy\.D|[BMD]\.?Sc|LL\.[BMD])(?P<s>s?)(?P<stop>\.?)(?!\w)")
def doctorate(match, context):
    """Ph.D., M.Sc."""
    return match["letters"].replace(".", "").upper() + match["s"] + context.stop(match)


@rule("abbreviation", r"(?P<letter>[BMD])\.(?P<word>Ed|Eng|Com|Tech|Phil|Mus|Arch|Div)(?P<stop>\.?)(?!\w)")
def degree(match, context):
    """an M.Phil., a B.Eng."""
    return f"{match['letter']} {match['word']}{context.stop(match)}"


@rule("abbreviation", r"p\.?a(?P<stop>\.?)(?![\w'])")
def per_annum(match, context):
    """£12k p.a."""
    if not re.search(r"[$£€][\d,.]+[km]?[ ]\Z|\d%[ ]\Z", context.before(match.start(), 16)):
        return None
    return "per annum" + context.stop(match)


@rule(
    "abbreviation",
    r"(?P<word>St|Dr|Ave|Blvd|Rd|Ln|Pkwy|Hwy|Ct|Pl|Plz|Sq|Terr?|Cir|Expy|Fwy|Cres|Hts|Trl|Tpke|Cswy|Xing|Pk|Gdns|"
    r"Cl|Bch|st|ave|blvd|rd|hwy|ct|expy|pkwy|ST|AVE|RD|BLVD)(?P<stop>\.?)(?!\w)",
)
def street(match, context):
    """Elm St., 45 Rosewood Ct"""
    from .places import STREETS

    word = match["word"]
    lower = word.lower()
    before = context.before(match.start(), 40)
    after_name = bool(_STREET_BEFORE.search(before)) and not _NOT_A_STREET.search(before)
    after_house = bool(re.search(r"\b\d{1,5}(?:[ ][NSEW]\.?)?(?:[ ][A-Z\d][\w']*){1,4}[ ]\Z", before)) or bool(
        re.search(r"\b\d+(?:st|nd|rd|th)[ ]\Z", before)
    )
    if word.islower() and not (
        match["stop"]
        and after_name
        or after_house
        and re.compile(r"\.?(?:[,;:!?)]|\s*$)").match(context.text, match.end("word"))
    ):
        return None
    if lower in ("st", "dr"):
        if not is_street(context, match.start(), match.end()) and not (
            after_house and lower == "st" and word.islower()
        ):
            return None
        if word == "ST" and not after_house:
            return None
    elif not match["stop"] and not after_name and not after_house:
        return None
    elif lower in ("pl", "plz", "ct", "sq", "ter", "terr", "cir", "pk", "cl", "bch") and not after_name:
        return None
    if lower in ("ct", "cl", "pk", "bch") and not match["stop"] and not after_house:
        return None
    return STREETS[lower] + context.stop(match)


WORD_RULES: dict[str, tuple] = {}
for _table, _rule in (
    (_NUMBERED, before_number),
    (_TITLES, title),
    (_WORDS, word_with_stop),
    (BARE_WORDS, bare_word),
):
    for _word in _table:
        WORD_RULES[_word] = (*WORD_RULES.get(_word, ()), _rule)
for _word in "ed eds vols".split():
    WORD_RULES[_word] = (*WORD_RULES.get(_word, ()), in_brackets)
_STREET_WORDS = (
    "st dr ave blvd rd ln pkwy hwy ct pl plz sq ter terr cir expy fwy cres hts trl tpke cswy xing pk gdns cl bch"
)
for _word in _STREET_WORDS.split():
    WORD_RULES[_word] = (street, *WORD_RULES.get(_word, ()))
for _words, _rule in (
    ("e eg", for_example),
    ("i ie", that_is),
    ("a aka", also_known_as),
    ("w b c n s p y q m and a d i f t h o r j hi lo", mixed),
    ("hi lo", high_or_low),
    ("dx hx sx tx", clinical),
    ("w", week_of),
    ("et", et_al),
    ("vs", versus),
    ("jr sr", generation),
    ("ctrl", control),
    ("no", number_of),
    ("fl", floor),
    (" ".join(_DOCUMENTS), document),
    ("reg cor dep arr", by_what_follows),
    ("var", variable),
    ("lg lrg med sm sml xl xlg lge", size_word),
    ("tab tabs cap caps inj supp supps gtt gtts", dose),
    ("pt", patient),
    ("ea", each),
    ("rd", round_of),
    ("med", medium),
    ("adv", advisory),
    ("mi", mile_marker),
    ("mo yr wk hr qtr min sec", period),
    ("ooo", out_of_office),
    ("yoy qoq mom", growth),
    ("gov sen rep pres", elect),
    ("sec secy sect", secretary_general),
    ("t", thunderstorm),
    ("tl tldr", too_long),
    ("b gr l m w h str ur urs some sum any every no d sk", texted),
    ("tn bc", texted_word),
    (" ".join(LETTERED), before_letter),
    (" ".join(CONTRACTED), contracted),
    (" ".join(LABELS), label),
    (" ".join(_LOWER_INITIALS), lower_initials),
    ("ph ed phd psy b m d bsc msc dsc ll", doctorate),
    ("b m d", degree),
    ("p pa", per_annum),
    (" ".join(_PHRASES).lower(), phrase),
):
    for _word in _words.split():
        WORD_RULES[_word] = (_rule, *WORD_RULES.get(_word, ()))
NUMBER_RULES = (texted, texted_for)
