"""Labelled texts to tune the detectors on, and others, written differently, to check them with.

Everything is generated from a seed: no personal data, and no public set. The held-out half has
other sentences, other number formats and other locales than the tuning half.
"""

# Long lines: sentences are easier to compare side by side.
# ruff: noqa: E501
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Rng = random.Random
Made = Callable[[Rng], str]


@dataclass(frozen=True)
class Labelled:
    """A text and the identifiers in it as (type, start, end)."""

    text: str
    labels: tuple[tuple[str, int, int], ...]


def digits(rng: Rng, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def shaped(rng: Rng, shape: str) -> str:
    """`#` a digit, `%` a digit from 2 to 9, `@` a capital letter."""
    table = {"#": string.digits, "%": "23456789", "@": string.ascii_uppercase}
    return "".join(rng.choice(table[one]) if one in table else one for one in shape)


def luhn_digit(body: str) -> str:
    total = 0
    for index, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if index % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


CARDS = [
    ("4", 16), ("4", 13), ("4", 19), ("51", 16), ("55", 16), ("2221", 16), ("2720", 16),
    ("34", 15), ("37", 15), ("6011", 16), ("65", 16), ("644", 16), ("300", 14), ("36", 14),
    ("3528", 16), ("3589", 16), ("62", 16), ("5018", 12), ("6304", 12), ("6759", 16), ("5020", 13),
    ("2131", 15), ("1800", 15),
]  # fmt: skip


def card(rng: Rng, separators: str) -> str:
    prefix, length = rng.choice(CARDS)
    body = prefix + digits(rng, length - len(prefix) - 1)
    number = body + luhn_digit(body)
    separator = rng.choice(separators).strip("0")
    if not separator:
        return number
    cut = [4, 10] if length in (14, 15) else list(range(4, length, 4))
    parts = [number[a:b] for a, b in zip([0, *cut], [*cut, length], strict=True)]
    return separator.join(parts)


IBANS_A = ["DE##################", "FR#######################", "NL@@@@##########"]
IBANS_A += ["ES####################", "IT@######################", "BE############"]
IBANS_B = ["GB@@@@##############", "CH@@@@@@@@@@@@@@@@@", "AT################"]
IBANS_B += ["PL########################", "PT#####################", "NO###########"]
IBANS_B += ["SE####################", "IE@@@@##############", "MT@@@@#####@@@@@@@@@@@@@@@@@@"]


def iban(rng: Rng, shapes: list[str], separators: str) -> str:
    shape = rng.choice(shapes)
    country, bban = shape[:2], shaped(rng, shape[2:].replace("C", "@"))
    number = "".join(str(int(one, 36)) for one in bban + country + "00")
    whole = f"{country}{98 - int(number) % 97:02d}{bban}"
    separator = rng.choice(separators).strip("0")
    return separator.join(whole[i : i + 4] for i in range(0, len(whole), 4))


def ssn(rng: Rng, formats: list[str]) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    parts = f"{area:03d}", f"{rng.randint(1, 99):02d}", f"{rng.randint(1, 9999):04d}"
    return rng.choice(formats).format(*parts)


def ip(rng: Rng, kinds: list[str]) -> str:
    kind = rng.choice(kinds)
    if kind == "4":
        return ".".join(str(rng.randint(1, 255)) for _ in range(4))
    groups = [f"{rng.randint(0x1000, 0xFFFF):x}" for _ in range(8)]
    if kind == "6":
        return ":".join(groups)
    if kind == "6U":
        return ":".join(groups).upper()
    return (
        f"2001:db8:{groups[0]}::{groups[1]}" if kind == "6s" else f"fe80::{groups[0]}:{groups[1]}"
    )


NAMES_A = ["alice", "bob.smith", "j.doe", "maria_garcia", "lars", "Chen.Wei", "t.o.connor77"]
NAMES_B = [
    "Noemie-Durand",
    "x",
    "support+billing",
    "k.w.lund.1984",
    "IVAN_PETROV",
    "q%test",
    "0xdada",
]
DOMAINS_A = ["example.com", "gmail.com", "mail.example.org", "company.co.uk"]
DOMAINS_B = ["muller-gmbh.de", "sub.dept.univ.ac.jp", "x.io", "startup.technology", "123-reg.eu"]


def email(rng: Rng, names: list[str], domains: list[str]) -> str:
    return f"{rng.choice(names)}{rng.choice(['', str(rng.randint(1, 99))])}@{rng.choice(domains)}"


PHONES_A = [
    "(%##) %##-####", "%##-%##-####", "+1 %## %## ####", "%##.%##.####", "+1-%##-%##-####x###",
    "+49 30 #######", "030 #######", "+33 1 ## ## ## ##", "01 ## ## ## ##", "+44 20 #### ####",
    "020 #### ####", "+34 6## ### ###", "+39 02 #######", "07700 9#####", "1-%##-%##-#### x####",
]  # fmt: skip
PHONES_B = [
    "001-%##-%##-####x####", "(%##)%##-####", "%##-%##-#### ext. ##", "+1(%##)%##-####",
    "(0###) ######", "+49(0)##########", "0###/#######", "+33 (0)6 ## ## ## ##", "+44(0)##########",
    "(01##) 496 0###", "04## ### ###", "(02) #### ####", "+91 9#### #####", "+91-##########",
    "+31 6 ########", "0##-#######", "(##) 9####-####", "+55 ## 9####-####", "+45 ## ## ## ##",
    "+81 3-####-####", "0#-####-####", "+27.##.###.####", "+358 ## ### ####",
]  # fmt: skip
BARE_PHONES = ["%##%######", "06########", "9#########", "### ####", "%##-####", "6## ### ###"]


def key(rng: Rng, shapes: list[str]) -> str:
    word = string.ascii_letters + string.digits
    shape = rng.choice(shapes)
    return "".join(rng.choice(word) if one == "*" else one for one in shape) + "7aZ9"


KEYS_A = ["sk-ant-api03-" + "*" * 60, "ghp_" + "*" * 32, "xoxb-" + "*" * 40]
KEYS_B = ["sk-proj-" + "*" * 44, "sk_live_" + "*" * 20, "glpat-" + "*" * 16, "hf_" + "*" * 30]


@dataclass(frozen=True)
class Half:
    """How one half of the set writes things."""

    sentences: dict[str, list[str]]
    makers: dict[str, Made]
    benign: list[str]


TUNING = Half(
    {
        "email": [
            "Write to {} about the offer.", "My e-mail is {}", "cc: {}; subject: minutes",
            "Contactez-moi : {}.", "<a href='mailto:{}'>mail</a>", "邮箱{}请查收", "user={} logged in",
        ],
        "phone": [
            "Call me at {}.", "Phone: {}", "You can reach us on {} after nine.", "Tel. {} (office)",
            "Rufen Sie uns an: {}", "{} is my new number", "The desk ({}) is open daily.",
        ],
        "card": [
            "I paid with card {} yesterday.", "Charge {} please.", "Visa number {}, exp 04/29",
            "cc {} cvv 123", "Meine Karte: {}", "The card ending was {}.", '{{"card": "{}"}}',
        ],
        "iban": [
            "Transfer to {} today.", "IBAN: {}", "Bitte überweisen Sie auf {}.", "mein Konto {} danke",
            "Refund {}, reference 22", '"iban":"{}"',
        ],
        "ssn": [
            "My SSN is {}.", "Social security number: {}", "ssn={};", "Employee {} was hired.",
            "the patient ({}) arrived",
        ],
        "ip": [
            "Connection from {} refused", "ping {}", "host {} is down, restart it",
            "http://{}/index.html", "src={} dst=gateway", "The server at {}.",
        ],
        "api_key": [
            "export ANTHROPIC_API_KEY={}", "key: {}", "Use {} for the call", 'token = "{}"',
        ],
    },
    {
        "email": lambda rng: email(rng, NAMES_A, DOMAINS_A),
        "phone": lambda rng: shaped(rng, rng.choice(PHONES_A)),
        "card": lambda rng: card(rng, "0 -"),
        "iban": lambda rng: iban(rng, IBANS_A, "0 "),
        "ssn": lambda rng: ssn(rng, ["{}-{}-{}"]),
        "ip": lambda rng: ip(rng, ["4", "4", "6"]),
        "api_key": lambda rng: key(rng, KEYS_A),
    },
    [
        "The meeting is on 2026-##-## at 1#:##.", "Order ########## shipped on 1#/0#/2026.",
        "Version 3.#.#.# of the library fixes it.", "It costs $#,###.## plus 19 % tax.",
        "Population: ##,###,### in 2024.", "See pages %##-%## of volume #.", "x = [1, 2, 3, ##, ###]",
        "ISBN 978-3-16-14841#-#", "The ratio was 0.########## in run ##.", "std::vector<int> v(###);",
        "Latitude 48.####, longitude 11.####.", "UPC 0360002914##", "@dataclass(frozen=True)",
        "Ticket #######: the build fails at step ##.", "Set the timeout to ##### ms.", "a[::2] + b[1::##]",
        "The years 1990-2005 and 2010 - 2020.", "commit ####abc####def", "npm install pkg@1.##.#",
        "Chapter 1.2.3.4 explains it.", "Call the function with ### arguments.", "MAC 00:1B:44:11:3A:B#",
        "Invoice 2026-######## of 3 March", "Tracking 1Z999AA1########## arrived", "Room ###-## is free.",
        "timestamp=17########### level=info", "git clone git@github.com:org/repo.git", "logo@2x.png",
        "The card game has ## cards; deal # to each.", "score ##:##, ##:##, ##:##", "E = mc^2 and # + # = ##",
        "Please summarise the text below in ### words.", "IMEI 35############3", "lot ####-####-##",
    ],
)  # fmt: skip
HELD_OUT = Half(
    {
        "email": [
            "Pls fwd 2 {} asap!!", "De : {} À : équipe", "{},{{score}}", "Kontakt über {} möglich",
            "[{}] joined the channel", "\"{}\";\"2026\"", "Nutzer {} hat sich beschwert",
        ],
        "phone": [
            "Mobile - {} - ask for Kim", "fax {} / desk 4", "WhatsApp {} any time",
            "Mon portable est le {}.", "Kunden wählen {} rund um die Uhr", "or dial {} instead",
            "Emergency contact (sister): {}", "{} (home)",
        ],
        "card": [
            "Please update my payment method to {}.", "Kreditkartennummer {} läuft ab", "amex/visa: {}",
            "ma carte bancaire {} est bloquée", "I was double charged on {} !", "PAN={}",
        ],
        "iban": [
            "Salary goes to {} from May.", "Il mio conto è {}.", "virement sur le compte {} (joint)",
            "acct {} BIC COBADEFF", "Beneficiary {}; amount 20 EUR",
        ],
        "ssn": [
            "SSN {} belongs to the claimant", "taxpayer with social {} filed late",
            "Name: J. Roe, Social Security No. {}, Age: 44", "id on file {}.",
        ],
        "ip": [
            "Failed password for root from {} port 22", "whitelist {}, then reload", "{}/24 is routed",
            "- - {} - - [GET /]", "Der Rechner {} antwortet nicht", "X-Forwarded-For: {}",
        ],
        "api_key": [
            "curl -H 'x-api-key: {}'", "My secret leaked: {}, rotate it", "client = Client(\"{}\")",
        ],
    },
    {
        "email": lambda rng: email(rng, NAMES_B, DOMAINS_B),
        "phone": lambda rng: shaped(rng, rng.choice([*PHONES_B, *PHONES_B, *BARE_PHONES])),
        "card": lambda rng: card(rng, "00 -."),
        "iban": lambda rng: iban(rng, IBANS_B, "00 -"),
        "ssn": lambda rng: ssn(rng, ["{}-{}-{}", "{}-{}-{}", "{}-{}-{}", "{} {} {}", "{}{}{}"]),
        "ip": lambda rng: ip(rng, ["4", "4", "6", "6U", "6s", "6l"]),
        "api_key": lambda rng: key(rng, KEYS_B),
    },
    [
        "On 0#.1#.2026 we sold ##,### units.", "Flight LH ### leaves at gate ##.", "Rev. 10.#.#.## is out",
        "DOI 10.1###/s########", "part no. ####-####-#### rev B", "RFC 7### section 4.#.#.#",
        "sum(range(####)) == ######", "pi is 3.141592653589793", "Chrome/120.0.#.# Safari/537.36",
        "chr1:########-########", "SELECT * FROM t WHERE id = #######;", "const x = a?.b ?? c::d;",
        "The 2024/2025 season had ### games.", "Zip 9####-#### in the list", "GPS 52.520008, 13.404954",
        "EAN 4006381333###", "Parcel ################ is late", "serial SN-####-######-##", "ab::cd is Perl",
        "Case number 26-cv-#####", "uuid 3f2504e0-4f89-11d3-9a0c-0305e82c3###", "sha 9c56cc51b374c3ba",
        "RGB(###, ##, ##) or #ff####", "Gene BRCA# has ## exons", "He ran 42.195 km in 2:##:##.",
        "Translate: the cat sat on the mat.", "Compare 1.5e10 and 2.7e-## numerically.", "@media (min-width: ###px)",
        "pip install numpy==2.#.#", "Budget: 1 234 567 EUR (2025: 1 198 332)", "3 x 4 x ## cm box",
        "Meet at 10:00 or 14:30, room 3.##", "phone case, black, ##.## EUR", "user story US-####: login",
        "Explain why 2**64 = 18446744073709551616", "The tax form 1040-ES, line ##", "follow @user_## on it",
    ],
)  # fmt: skip


def positives(half: Half, count: int, seed: int) -> Iterator[Labelled]:
    """`count` texts with one to three labelled identifiers each."""
    rng = random.Random(seed)
    kinds = list(half.sentences)
    for _ in range(count):
        text, labels = "", []
        for kind in rng.choices(kinds, k=rng.choice([1, 1, 1, 2, 3])):
            before, after = rng.choice(half.sentences[kind]).split("{}", 1)
            value = half.makers[kind](rng)
            text += before.replace("{{", "{")
            labels.append((kind, len(text), len(text) + len(value)))
            text += value + after.replace("}}", "}") + rng.choice([" ", "\n"])
        yield Labelled(text.rstrip(), tuple(labels))


def negatives(half: Half, count: int, seed: int) -> Iterator[Labelled]:
    """`count` texts without any identifier, most of them with numbers."""
    rng = random.Random(seed)
    for _ in range(count):
        yield Labelled(shaped(rng, rng.choice(half.benign)), ())


@dataclass(frozen=True)
class Quality:
    """How well the found spans cover the labelled ones; a span counts when it overlaps."""

    precision: float
    recall: float
    recall_of: dict[str, float]
    flagged: float


def measure(
    find: Callable[[str], list[tuple[str, int, int]]], half: Half, seed: int, size: int = 3_000
) -> Quality:
    """Micro precision and recall over positives and negatives, and the share of those flagged."""
    hits: dict[str, list[int]] = {}
    found_right = found_all = 0
    for one in positives(half, size, seed):
        found = find(one.text)
        found_all += len(found)
        found_right += sum(any(_same(span, label) for label in one.labels) for span in found)
        for label in one.labels:
            hits.setdefault(label[0], []).append(any(_same(span, label) for span in found))
    benign = [find(one.text) for one in negatives(half, size, seed)]
    recalls = {kind: sum(all_) / len(all_) for kind, all_ in hits.items()}
    total = [hit for all_ in hits.values() for hit in all_]
    return Quality(
        found_right / found_all,
        sum(total) / len(total),
        recalls,
        sum(map(bool, benign)) / len(benign),
    )


def _same(span: tuple[str, int, int], label: tuple[str, int, int]) -> bool:
    return span[0] == label[0] and span[1] < label[2] and label[1] < span[2]
