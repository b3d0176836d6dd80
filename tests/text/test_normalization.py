"""What is written against what is said: both sides go through the same phonemizer."""

import pytest

from ns2_diffusers.text.normalization import clean_text, normalize_english, unreadable_characters
from ns2_diffusers.text.phonemizers import phonemize

# (written, spoken). "point" in 3.5 is unstressed and alone is not, so stress is left out of the comparison.
SPOKEN = [
    # numbers
    ("She counted 42 birds.", "She counted forty two birds."),
    ("1,234,567 people", "one million two hundred thirty four thousand five hundred sixty seven people"),
    ("the 21st century", "the twenty first century"),
    ("the 103rd page", "the one hundred third page"),
    ("born in 1999", "born in nineteen ninety nine"),
    ("born in 2005", "born in two thousand five"),
    ("back in 1900", "back in nineteen hundred"),
    ("in the 1990s", "in the nineteen nineties"),
    ("in the '90s", "in the nineties"),
    ("It is -5 outside.", "It is minus five outside."),
    ("agent 007", "agent zero zero seven"),
    ("version 2.0 is out", "version two point zero is out"),
    ("v3.1 is out", "version three point one is out"),
    ("release 1.2.3", "release one point two point three"),
    ("1.5M users", "one point five million users"),
    ("It lost 3bn.", "It lost three billion."),
    ("3.14", "three point one four"),
    ("0.5", "zero point five"),
    ("12.5%", "twelve point five percent"),
    # fractions
    ("1/2 cup", "one half cup"),
    ("3/4 mile", "three quarters mile"),
    ("2 1/2 hours", "two and a half hours"),
    ("1½ cups", "one and a half cups"),
    ("½ cup", "one half cup"),
    ("2⅓ cups", "two and one third cups"),
    # money
    ("It cost $42.50.", "It cost forty two dollars and fifty cents."),
    ("It cost £3.20.", "It cost three pounds and twenty pence."),
    ("It cost £1.01.", "It cost one pound and one penny."),
    ("It cost €5.", "It cost five euros."),
    ("It cost $1.", "It cost one dollar."),
    ("It cost $0.99.", "It cost ninety nine cents."),
    ("It costs 99¢.", "It costs ninety nine cents."),
    ("It cost $1.5 million.", "It cost one point five million dollars."),
    ("$1,000,000", "one million dollars"),
    ("worth £2bn", "worth two billion pounds"),
    ("from $5–$10", "from five to ten dollars"),
    ("from $5-10 million", "from five to ten million dollars"),
    ("It costs 50 €.", "It costs fifty euros."),
    ("US$20", "twenty U.S. dollars"),
    ("I paid $5 to 10 people.", "I paid five dollars to ten people."),
    # ranges
    ("1990–2000", "nineteen ninety to two thousand"),
    ("pages 5-10", "pages five to ten"),
    ("2.5–3.5", "two point five to three point five"),
    ("won 3–2", "won three to two"),
    ("5%–10%", "five percent to ten percent"),
    ("5-10%", "five to ten percent"),
    # dates
    ("On January 5, 2021 it snowed.", "On January fifth, twenty twenty one it snowed."),
    ("on 5 January 2021", "on the fifth of January twenty twenty one"),
    ("on 3/4/2020", "on March fourth, twenty twenty"),
    ("2024-03-15", "March fifteenth, twenty twenty four"),
    ("on Jan. 5th", "on January fifth"),
    ("the 4th of July", "the fourth of July"),
    ("in Jan 2020", "in January twenty twenty"),
    ("in Sept. 1998", "in September nineteen ninety eight"),
    ("9/11", "nine eleven"),
    ("50/50", "fifty fifty"),
    # times
    ("at 3:30", "at three thirty"),
    ("at 3:05", "at three oh five"),
    ("at 10am today", "at ten A.M. today"),
    ("at 12:00", "at twelve o'clock"),
    ("at 3:30 p.m. today", "at three thirty P.M. today"),
    ("from 9am-5pm today", "from nine A.M. to five P.M. today"),
    ("9:30–10:15", "nine thirty to ten fifteen"),
    ("24/7", "twenty four seven"),
    ("a 3:2 ratio", "a three to two ratio"),
    # telephone numbers
    ("call 555-1234", "call five five five, one two three four"),
    ("(555) 123-4567", "five five five, one two three, four five six seven"),
    ("+1 555 123 4567", "plus one, five five five, one two three, four five six seven"),
    ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
    ("Call 911 now!", "Call nine one one now!"),
    # units
    ("3.5 GHz", "three point five gigahertz"),
    ("100 km/h", "one hundred kilometers per hour"),
    ("20 °C", "twenty degrees Celsius"),
    ("-5°F", "minus five degrees Fahrenheit"),
    ("70kg", "seventy kilograms"),
    ("1 kg", "one kilogram"),
    ("10 m", "ten meters"),
    ("9.8 m/s²", "nine point eight meters per second squared"),
    ("10 km²", "ten square kilometers"),
    ("3 m³", "three cubic meters"),
    ("220 V", "two hundred twenty volts"),
    ("5 ft. tall", "five feet tall"),
    ("6 in. long", "six inches long"),
    ("He is 6'2\" tall", "He is six foot two tall"),
    ("100 MB/s", "one hundred megabytes per second"),
    # abbreviations
    ("Dr. Smith", "Doctor Smith"),
    ("Mr. Jones", "Mister Jones"),
    ("MR. SMITH", "Mister Smith"),
    ("Mrs. Brown", "Misses Brown"),
    ("St. Paul", "Saint Paul"),
    ("on Main St. today", "on Main Street today"),
    ("on Elm Dr. today", "on Elm Drive today"),
    ("12 Oak Dr.", "twelve Oak Drive."),
    ("cats, dogs, etc. were there", "cats, dogs, etc were there"),
    ("cats vs. dogs", "cats versus dogs"),
    ("No. 5 is alive", "Number five is alive"),
    ("Fifth Ave. is long", "Fifth Avenue is long"),
    ("pp. 5–10", "pages five to ten"),
    ("p. 5", "page five"),
    ("ca. 1900", "circa nineteen hundred"),
    ("Bob, a.k.a. Bobby", "Bob, also known as Bobby"),
    ("Martin Luther King Jr. spoke", "Martin Luther King Junior spoke"),
    # Roman numerals
    ("Henry VIII", "Henry the eighth"),
    ("World War II", "World War two"),
    ("Chapter IV", "Chapter four"),
    # signs and addresses
    ("#1", "number one"),
    ("A & B", "A and B"),
    ("2 + 2 = 4", "two plus two equals four"),
    ("C#", "C sharp"),
    ("user@example.com", "user at example dot com"),
    ("https://www.example.com/path", "W W W dot example dot com slash path"),
    ("See example.com.", "See example dot com."),
    # quotation marks, dashes, letters
    ("“Hello,” she said.", "Hello, she said."),
    ("‘Hello,’ she said.", "Hello, she said."),
    ('"Hello," she said.', "Hello, she said."),
    ("It’s the dogs’ rock ’n’ roll.", "It's the dogs rock and roll."),
    ("Wait -- what?", "Wait — what?"),
    ("Wait...", "Wait…"),
    ("HELLO WORLD", "hello world"),
    ("Let us go. LET US GO!", "Let us go. Let us go!"),
    ("LET US GO NOW!", "Let us go now!"),
    ("Hello！ the [old] ﬁne so\u00adft house", "Hello! the (old) fine soft house"),
]

# What has no other spelling than itself.
LITERAL = [
    ("NASA", "nˈæsə"),
    ("the FBI", "ði ˌɛfbˌiˈI"),
    ("the U.S.A. and her Ph.D.", "ðə jˌuˌɛsˈA ænd hɜɹ pˌiˌAʧdˈi."),
    ("at 5 p.m., in the U.S.", "æt fˈIv pˌiˈɛm, ɪn ðə jˌuˈɛs."),
    ("No. I won't.", "nˈO. ˌI wˈOnt."),
]


def without_stress(phonemes):
    return phonemes.replace("ˈ", "").replace("ˌ", "")


@pytest.mark.parametrize(("written", "spoken"), SPOKEN)
def test_reads_as_it_is_said(written, spoken):
    phonemes, unreadable = phonemize(written, "english", "en-us")
    expected, _ = phonemize(spoken, "english", "en-us")
    assert without_stress(phonemes) == without_stress(expected)
    assert not unreadable


@pytest.mark.parametrize(("written", "phonemes"), LITERAL)
def test_reads_as_these_phonemes(written, phonemes):
    assert phonemize(written, "english", "en-us") == (phonemes, [])


def test_ordinary_prose_is_left_alone():
    text = "The cat sat on the mat, and it was content; nobody else knew why (or cared)!"
    assert normalize_english(text) == text


def test_clean_text_drops_only_what_is_invisible():
    assert clean_text("a\u200bb\ufeff \t\n c\u00ad 。d❤\ufe0f") == "ab c. d❤"


def test_unreadable_characters_are_named_once_and_in_order():
    assert unreadable_characters("I ♥ 東京, 東京! Привет 😀, café & Łódź – £5") == list("♥東京Привет😀")


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("It is $5/month.", "It is five dollars per month."),
        ("It is $5/month. Call us.", "It is five dollars per month. Call us."),
        ("It is $20/hr. Then it rained.", "It is twenty dollars per hour. Then it rained."),
        ("It is $10K-$15K/yr.", "It is ten thousand to fifteen thousand dollars per year."),
        ("It is 50 €/day.", "It is fifty euros per day."),
        ("It is 5¢/mile.", "It is five cents per mile."),
        ("We pay $20/hr. plus tips.", "We pay twenty dollars per hour plus tips."),
    ],
)
def test_the_stop_after_a_price_is_kept(written, spoken):
    assert normalize_english(written) == spoken
