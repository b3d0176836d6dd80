"""Words cut short whose neighbours tell what they are short for: "3 yrs. exp.", "EPS $1.10 exp.", "exp. 12/27"."""

from __future__ import annotations

import re
from collections import defaultdict

from .common import rule

_YEARS = (
    r"years?(?: of)?|yrs?\.?(?: of)?|months?|mos\.?|work|prior|prev\.?|previous|relevant|sales|some|no|"
    r"teaching|cooking|retail|management|mgmt\.?"
)
_END = r"\s*$|[ ]?[),;:!?\"\]]|[ ](?:and|or|&)[ ]"
# Short form, spoken form, words before it, what follows it; an empty pattern fits everywhere. The first that fits
# is read.
_TABLE = [
    ("exp", "experience", _YEARS, ""),
    ("exp", "experience", "", r"[ ](?:req|pref|required|preferred|needed|nec|a must|a plus|helpful|in|with|w/|not)"),
    ("exp", "expected", r"[$£€]?[\d.,]+[kKmMbB]?%?", _END),
    ("exp", "expires", "", r"[ ](?:\d|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|in|on|soon|date)"),
    ("rev", "revenue", "", r"[ ](?:up|down|rose|fell|grew|of|was|were|growth|beat|missed|est|per|guidance|[$£€])"),
    ("revs", "revenues", "", r"[ ](?:up|down|rose|fell|grew|of|were|beat|missed|[$£€])"),
    ("req", "request", r"upon|on|by|per|your|our|my", ""),
    ("reqs", "requirements", "", r""),
    ("req", "required", "", _END),
    ("pref", "preferred", r"[\w'.]+", _END),
    ("ref", "reference", "", r"[ ]?(?:[A-Z]*\d|#|no(?!\w))"),
    ("refs", "references", "", r"[ ](?:avail|upon|on|req|available|needed)"),
    ("ref", "references", "", r"[ ](?:avail|upon|on req|req|available)"),
    ("ins", "insurance", r"car|health|life|auto|dental|home|title|travel|med\.?|medical|liability|pet|renters?|"
                         r"flood", ""),
    ("avail", "available", r"(?!(?:no|little|any|much|some|of)[ ])[^\s]+", ""),
    ("avail", "available", "", r"[ ](?![A-Z])"),
    ("dep", "deposit", r"sec\.?|security|refundable|non-refundable|damage|pet|down|\d+%|direct|first|key|"
                       r"[$£€][\d,]+", ""),
    ("dep", "deposit", "", r"[ ](?:req|required|slip|refunded)"),
    ("term", "terminal", "", r"[ ](?:\d|[B-H](?!\w))"),
    ("plat", "platform", "", r"[ ]\d"),
    ("blk", "block", "", r"[ ]\d"),
    ("grp", "group", "", r"[ ](?:[A-Z](?!\w)|\d)"),
    ("apt", "apartment", "", r"[ ](?:for|bldg|building|complex|in|near|nr|w/|with|available|avail|hunting|to)"),
    ("cent", "century", r"\d+(?:st|nd|rd|th)", ""),
    ("c", "century", r"\d+(?:st|nd|rd|th)", ""),
    ("sq", "square", r"in\.?|inch|cm|\d+", r"[ ](?:pan|dish|tin|box|table|block|tile|tiles|cake|baking|piece|"
                                           r"pieces|inch|yard|foot)"),
    ("sq", "square", "", r"[ ](?:miles?|feet|foot|met(?:er|re)s?|inch|inches|yards?|kilomet(?:er|re)s?|"
                         r"centimet(?:er|re)s?)"),
    ("cu", "cubic", "", r"[ ](?:feet|foot|met(?:er|re)s?|inch|inches|yards?|centimet(?:er|re)s?)"),
    ("b", "born", "", r"[ ](?:c\.[ ])?(?:1\d|20)\d\d(?!\d)"),
    ("d", "died", "", r"[ ](?:c\.[ ])?(?:1\d|20)\d\d(?!\d)"),
    ("r", "reigned", "", r"[ ](?:c\.[ ])?\d{3,4}(?!\d)"),
    ("fl", "flourished", "", r"[ ](?:c\.[ ])?\d{3,4}(?!\d)"),
    ("nr", "near", "", r"[ ](?:[A-Z][a-z]+|the|main|town|train|tube|bus|station|[a-z]+(?: \w+)? (?:station|park|"
                       r"stn))"),
    ("pt", "point", "", r"[ ](?!\d)[A-Z][a-z]+"),
    ("so", "Southern", "", r"[ ](?:Calif|Cal|Dak|Ill|Ore)"),
    ("no", "Northern", "", r"[ ](?:Calif|Cal|Dak|Ire)"),
    ("comp", "computer", "", r"[ ](?:Sci|Eng|Science|Engineering|Prog)"),
    ("comp", "complimentary", "", r"[ ](?:breakfast|parking|wifi|wi-fi|drinks?|tickets?|coffee|bkfst)"),
    ("sci", "science", r"comp\.?|poli\.?|pol\.?|env\.?|soc\.?|computer|political|earth|data|life|social|"
                       r"environmental|mat\.?", ""),
    ("poli", "political", "", r"[ ](?:Sci|science)"),
    ("pol", "political", "", r"[ ](?:Sci|science)"),
    ("eng", "English", "", r"[ ](?:Lit|literature|Lang|dept|teacher|class|major)"),
    ("eng", "engineering", r"mech\.?|elec\.?|civ\.?|chem\.?|comp\.?|civil|software|electrical|mechanical|chemical|"
                           r"computer|M\.|B\.|biomed\.?", ""),
    ("eng", "engineer", r"sr\.?|jr\.?|senior|junior|lead|chief|staff|principal|network|site|systems?|sales", ""),
    ("lit", "literature", r"eng\.?|English|comp\.?|comparative|world|American|French|Am\.?|Amer\.?|Brit\.?", ""),
    ("elec", "electrical", "", r"[ ](?:Eng|Engr|engineering|engineer)"),
    ("chem", "chemical", "", r"[ ](?:Eng|Engr|engineering)"),
    ("civ", "civil", "", r"[ ](?:Eng|Engr|engineering)"),
    ("mech", "mechanical", "", r"[ ](?:eng|engr|engineer|engineering|issue|problem|room)"),
    ("admin", "administration", r"bus\.?|business|public|pub\.?|health|hosp\.?|school", ""),
    ("veg", "vegetables", r"\d+|root|mixed|fresh|frozen|and|&|of|roast|green", _END),
    ("obs", "observation", "", r"[ ](?:deck|tower|point|post|period)"),
    ("perm", "permanent", "", r"[ ](?:position|resident|res|job|role|address|pos)"),
    ("proj", "project", "", r"[ ](?:mgr|manager|lead|team|plan|coord|coordinator|cost|costs)"),
    ("proj", "projected", "", r"[ ](?:growth|rev|revenue|sales|completion|finish|starters|lineup)"),
    ("diff", "differential", "", r"[ ](?:eq|equations?)"),
    ("mem", "memorial", r"[A-Z]\w+", r"[ ](?:Hosp|Park|Pk|Library|Lib|Hospital|Stadium|Day)"),
    ("mem", "Memorial", "", r"[ ]Day"),
    ("prem", "premium", "", r"[ ](?:econ|economy|gas|fuel|unleaded|account|plan)"),
    ("vac", "vacation", "", r"[ ](?:days?|time|pay|home|rental|rentals|policy)"),
    ("cust", "customer", "", r"[ ](?:service|services|svc|serv|support|rep|care|parking)"),
    ("rec", "recreation", "", r"[ ](?:center|centre|ctr|room|dept|league)"),
    ("rec", "recommended", "", r"[ ](?:retail|age|dose|price|serving)"),
    ("alt", "alternate", "", r"[ ](?:route|rte|date|dates|phone|no|number|email|contact)"),
    ("alt", "altitude", "", r"[ ]\d"),
    ("serv", "serving", r"per|\d|each|a|one", ""),
    ("serv", "service", r"cust\.?|customer|\d-hour", ""),
    ("servs", "servings", "", ""),
    ("grd", "ground", "", r"[ ](?:beef|pepper|turkey|pork|cinnamon|cumin|floor|fl|ginger)"),
    ("chop", "chopped", "", r"[ ](?:onions?|parsley|nuts|walnuts|garlic|cilantro|tomato)"),
    ("unsalt", "unsalted", "", ""),
    ("lge", "large", "", ""),
    ("sl", "slices", r"\d+|few|some", r"[ ]\w+"),
    ("gr", "grade", "", r"[ ]?(?:\d|[K](?!\w))"),
    ("hon", "honorary", "", r"[ ](?:degree|member|doctorate|sec|secretary|treasurer|president)"),
    ("coord", "coordinator", r"[\w'.]+", _END),
    ("coord", "coordinates", "", r":"),
    ("spec", "specialist", r"[A-Z]\w+\.?|(?:HR|IT|PR)", _END),
    ("rep", "representative", r"sales|customer|cust\.?|service|svc\.?|legal|union|field|state|support", ""),
    ("sem", "semester", r"fall|spring|summer|\d(?:st|nd|rd|th)|this|next|last|per|each|one|first|second", ""),
    ("cr", "credits", r"\d+", ""),
    ("prof", "professor", r"asst\.?|assoc\.?|assistant|associate|adjunct|adj\.?|my|the|full|a|econ|math|physics", ""),
    ("assoc", "associate", "", r"[ ](?:prof|professor|dir|director|dean|editor|ed|producer|degree)"),
    ("adj", "adjusted", "", r"[ ](?:EPS|EBITDA|gross|net|for|earnings|income|profit|operating)"),
    ("adj", "adjunct", "", r"[ ](?:prof|professor|faculty|instructor)"),
    ("op", "operating", "", r"[ ](?:margin|margins|income|profit|costs?|exp|expenses|hrs|hours)"),
    ("oper", "operating", "", ""),
    ("vol", "volume", "", r"[ ](?:up|down|rose|fell|was|of|:)"),
    ("cons", "consensus", "", r"[ ](?:est|estimates?|of|\$)"),
    ("mos", "months", r"\d+|of|few|several|past|last|next", ""),
    ("reg", "registration", "", r"[ ](?:No|fee|form|deadline|desk|opens|closes)"),
    ("pat", "patent", "", r"[ ](?:No|pending|pend|App)"),
    ("ed", "edition", r"\d+(?:st|nd|rd|th)|rev\.|revised|first|second|third|fourth|paperback|special|limited|"
                      r"int'l|deluxe", ""),
    ("edn", "edition", "", ""),
    ("rev", "revised", "", r"[ ](?:ed|edn|edition)"),
    ("ed", "edited", "", r"[ ]by"),
    ("trans", "translated", "", r"[ ]by"),
    ("elev", "elevation", r"ft\.?|feet|m|meters|max|total", ""),
    ("pop", "population", "", r"[ ][\d~]"),
    ("apt", "apartment", r"\d?BR|BA|studio|bed|bdrm|furnished|one-bed|two-bed", ""),
    ("elev", "elevator", r"no|w/|w/o|with|without", ""),
    ("est", "estimated", r"[$£€+-]{0,2}[\d.,]+[kKmMbB%]?", _END),
    ("ltd", "limited", "", r"[ ](?:warranty|edition|edn|ed|time|partner|partnership|supply)"),
    ("dep", "departure", r"before|after|until|prior to|on|time of", _END),
    ("arr", "arrival", r"before|after|until|prior to|on|time of", _END),
    ("ed", "education", r"(?:dept\.?|department|board|bd\.?|sec\.?|secretary|school) of", ""),
    ("wm", "William", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("chas", "Charles", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("robt", "Robert", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("geo", "George", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("jas", "James", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("thos", "Thomas", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("jos", "Joseph", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("benj", "Benjamin", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("edw", "Edward", "", r"[ ][A-Z](?:[a-z]+|\.)"),
    ("assocs", "associates", "", ""),
    # from here on, the noun that follows
    ("div", "dividend", "", r"[ ](?:yield|yields|rate|date|payment|income)"),
    ("var", "variable", "", r"[ ](?:rate|apr|costs|interest)"),
    ("ord", "ordinary", "", r"[ ](?:shares|income)"),
    ("bus", "business", "", r"[ ](?:days?|hours|class|trip|manager|mgr|admin|school|office|owners?|cards?|account|"
                            r"plan|model|dev|lines)"),
    ("gen", "general", "", r"[ ](?:manager|mgr|contractor|info|admission|counsel|public|election|knowledge|"
                           r"practice|ed|store|fund|ledger|meeting|population)"),
    ("ed", "education", "", r"[ ](?:dept|department|board|policy|system|program|reform)"),
    ("ed", "education", r"phys\.?|special|higher|gen\.?|driver's|health|adult", ""),
    ("fin", "financial", "", r"[ ](?:aid|statements|services|advisor|adviser|plan|planning)"),
    ("med", "medical", "", r"[ ](?:school|center|students?|records|leave|staff|degree|history|exam|bills|device|"
                           r"insurance|ins)"),
    ("sec", "security", "", r"[ ](?:deposit|dep|guard|system|cameras?|clearance)"),
    ("comm", "communications", "", r"[ ](?:director|dept|team|officer|manager|major)"),
    ("prof", "professional", "", r"[ ](?:development|dev|services|fees|use|license|experience|exp)"),
    ("tech", "technical", "", r"[ ](?:support|issues?|specs|writer|writing|manual)"),
    ("ops", "operations", "", r"[ ](?:manager|mgr|team|center|director|lead)"),
    ("admin", "administrative", "", r"[ ](?:assistant|asst|staff|fees?|leave|costs|building)"),
    ("pub", "public", "", r"[ ](?:schools?|library|health|transport|works|relations)"),
    ("edu", "education", "", r"[ ](?:dept|department|board|policy|system|program)"),
    ("lit", "literature", "", r"[ ](?:review|class|course|major|degree|student)"),
    ("phys", "physical", "", r"[ ](?:therapy|exam|ed|education|therapist)"),
    ("disc", "discount", "", r"[ ](?:rate|price|code)"),
    ("int", "interest", "", r"[ ](?:rates?|income|payment|charges?|paid|earned)"),
    ("dev", "development", "", r"[ ](?:team|mgr|manager|costs|plan|center)"),
]  # fmt: skip
_RULES: dict[str, list] = defaultdict(list)
for _word, _spoken, _before, _after in _TABLE:
    _RULES[_word].append(
        (
            _spoken,
            re.compile(rf"(?<![\w'])(?:{_before})[ -]\Z" if _before else r"", re.IGNORECASE),
            re.compile(rf"(?:{_after})" + ("" if _END in _after else r"(?![a-z])") if _after else r""),
            bool(_after) and _END not in _after,
        )
    )


@rule("abbreviation", r"(?P<word>[A-Za-z]{1,6})\.(?![\w-])")
def shortened(match, context):
    """3 yrs. exp., rev. up, cust. service"""
    word = match["word"]
    if not (word.islower() or word.istitle() and len(word) > 1):
        return None
    before = context.before(match.start(), 24)
    for spoken, behind, ahead, goes_on in _RULES[word.lower()]:
        if behind.search(before) and ahead.match(context.text, match.end()):
            words = spoken if word.islower() else spoken[0].upper() + spoken[1:]
            return words if goes_on else words + context.stop(match)
    return None


WORD_RULES = dict.fromkeys(_RULES, (shortened,))
