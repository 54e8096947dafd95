"""The WHO list: what is read from the package's files, and how the package is fetched."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
from clinic.demo import catalogue
from clinic.demo.catalogue import Form, fetch_wheel, parse_catalogue, parse_presentation
from clinic.errors import PermanentError, TransientError

CATEGORIES = b"""<tryton><data>
<record model="gnuhealth.medicament.category" id="medicament"><field name="name">Medicaments</field>
</record>
<record model="gnuhealth.medicament.category" id="em_6_2">
    <field name="name">Antibacterials</field><field name="parent" ref="em_6"/>
</record>
<record model="gnuhealth.medicament.category" id="em_6">
    <field name="name">ANTI-INFECTIVE MEDICINES (topical)</field><field name="parent" ref="em"/>
</record>
<record model="gnuhealth.medicament.category" id="em_1_2">
    <field name="name">Local anaesthetics</field><field name="parent" ref="em"/>
</record>
<record model="gnuhealth.medicament.category" id="em">
    <field name="name">WHO essential Medicines</field><field name="parent" ref="medicament"/>
</record>
</data></tryton>"""

MEDICINES = """<tryton><data>
<record model="gnuhealth.medicament" id="meds_em7">
    <field name="product" ref="prod_em7"/>
    <field name="active_component">amoxicillin +   clavulanic\u2010acid</field>
    <field name="category" ref="em_6_2"/>
    <field name="notes">Oral liquid: 125 mg amoxicillin + 31.25 mg clavulanic acid/5 ml.
Tablet: 500 mg</field>
</record>
<record model="gnuhealth.medicament" id="meds_em8">
    <field name="active_component">BCG vaccine</field>
    <field name="category" ref="em_6"/>
    <field name="is_vaccine">1</field>
    <field name="notes"></field>
</record>
<record model="product.product" id="prod_em7"><field name="template" ref="t"/></record>
</data></tryton>""".encode()

SPANISH = """
msgid ""
msgstr "Content-Type: text/plain; charset=utf-8\\n"

msgctxt "model:gnuhealth.medicament,active_component:meds_em7"
msgid "amoxicillin + clavulanic acid"
msgstr "amoxicilina + ácido clavulánico"

#, fuzzy
msgctxt "model:gnuhealth.medicament,active_component:meds_em8"
msgid "BCG vaccine"
msgstr "otra cosa"

msgctxt "model:gnuhealth.medicament.category,name:em_6"
msgid "ANTI-INFECTIVE MEDICINES"
msgstr "ANTIINFECCIOSOS"

msgctxt "model:gnuhealth.medicament.category,name:em_1_2"
msgid "Local anaesthetics"
msgstr "Efectos adversos de gases anestésicos locales"
"""


def test_medicines_have_english_and_spanish_names_form_and_strength() -> None:
    amoxicillin, bcg = parse_catalogue(MEDICINES, CATEGORIES, SPANISH).medicines
    assert amoxicillin.name_en == "Amoxicillin + clavulanic-acid, oral liquid 125 mg"
    assert amoxicillin.name_es == "Amoxicilina + ácido clavulánico, líquido oral 125 mg"
    assert amoxicillin.form is Form.ORAL_LIQUID
    assert amoxicillin.category_id == "em_6_2"
    assert amoxicillin.number == 7
    assert (bcg.name_en, bcg.form, bcg.strength) == ("BCG vaccine", Form.VACCINE, "")


def test_a_fuzzy_translation_is_not_taken() -> None:
    _, bcg = parse_catalogue(MEDICINES, CATEGORIES, SPANISH).medicines
    assert bcg.name_es == "BCG vaccine"


def test_sections_come_parents_first_without_what_the_list_is_part_of() -> None:
    sections = parse_catalogue(MEDICINES, CATEGORIES, SPANISH).categories
    assert [section.id for section in sections] == ["em", "em_6", "em_1_2", "em_6_2"]
    assert [section.parent_id for section in sections] == [None, "em", "em", "em_6"]
    assert [section.section for section in sections] == ["", "6", "1.2", "6.2"]


def test_headings_are_spanish_where_there_is_one_and_do_not_shout() -> None:
    headings = {c.id: c for c in parse_catalogue(MEDICINES, CATEGORIES, SPANISH).categories}
    assert headings["em_6"].name_en == "Anti-infective medicines (topical)"
    assert headings["em_6"].name_es == "Antiinfecciosos"
    assert headings["em_6_2"].name_es == "Antibacterials"


def test_a_translation_known_to_be_wrong_is_replaced() -> None:
    headings = {c.id: c for c in parse_catalogue(MEDICINES, CATEGORIES, SPANISH).categories}
    assert headings["em_1_2"].name_es == "Anestésicos locales"


def test_entries_of_one_name_are_told_apart_by_their_section() -> None:
    twice = MEDICINES.replace(b"meds_em8", b"meds_em9").replace(
        b"</data>",
        b"""<record model="gnuhealth.medicament" id="meds_em10">
        <field name="active_component">BCG vaccine</field><field name="category" ref="em_6_2"/>
        <field name="is_vaccine">1</field></record>
        <record model="gnuhealth.medicament" id="meds_em11">
        <field name="active_component">BCG vaccine</field><field name="category" ref="em_6_2"/>
        <field name="is_vaccine">1</field></record></data>""",
    )
    names = [m.name_en for m in parse_catalogue(twice, CATEGORIES, SPANISH).medicines[1:]]
    assert names == [
        "BCG vaccine (OMS 6)",
        "BCG vaccine (OMS 6.2, n.º 10)",
        "BCG vaccine (OMS 6.2, n.º 11)",
    ]


@pytest.mark.parametrize(
    ("notes", "spanish", "strength"),
    [
        pytest.param("Inhalation", "inhalación", "", id="a form without a strength"),
        pytest.param("", None, "", id="nothing"),
        pytest.param("Tablet: 10 mg; 20 mg.", "comprimido", "10 mg", id="the first strength"),
        pytest.param(
            "Oral liquid: 200 mg (as benzoate)/5 ml.", "líquido oral", "200 mg/5 ml", id="salt"
        ),
        pytest.param(
            "Powder for injection: 1 million IU in vial", "polvo para inyección", "1 million IU",
            id="units",
        ),
        pytest.param("Solution (eye drops): 0.5%", "colirio", "0.5%", id="the label's brackets"),
        pytest.param("Injection:\n80 mg + 16 mg/ml in 5\u2010ml ampoule", "inyectable",
                     "80 mg + 16 mg/ml", id="on the next line"),
        pytest.param("Tablet:\nInjection: 5 mg", "comprimido", "", id="another form's strength"),
        pytest.param("For trypanosomiasis.\nTablet: 120mg", "comprimido", "120 mg",
                     id="a note before"),
        pytest.param("In 3 weeks", None, "", id="a number that is no strength"),
    ],
)  # fmt: skip
def test_the_first_presentation_of_the_notes(
    notes: str, spanish: str | None, strength: str
) -> None:
    dosage, found = parse_presentation(notes)
    assert (dosage.spanish if dosage else None, found) == (spanish, strength)


@pytest.mark.parametrize(
    ("medicines", "categories", "spanish", "message"),
    [
        (b"<tryton><data>", CATEGORIES, SPANISH, "gnuhealth.medicament"),
        (MEDICINES, CATEGORIES.replace(b'"em_6"', b'"em_7"'), SPANISH, "category 'em_6'"),
        (MEDICINES.replace(b"BCG vaccine", b""), CATEGORIES, SPANISH, "no active_component"),
        (MEDICINES, CATEGORIES.replace(b'ref="em"', b'ref="em_6_2"'), SPANISH, "no known parent"),
        (MEDICINES, CATEGORIES, "nonsense\nand more", "Spanish names"),
    ],
)
def test_a_damaged_package_is_a_clear_error(
    medicines: bytes, categories: bytes, spanish: str, message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        parse_catalogue(medicines, categories, spanish)


def test_no_entity_of_the_package_reads_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    hostile = f'<!DOCTYPE t [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'.encode() + MEDICINES.replace(
        b"BCG vaccine", b"BCG &x;"
    )
    _, bcg = parse_catalogue(hostile, CATEGORIES, SPANISH).medicines
    assert "s3cret" not in bcg.name_en


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of the test's own, taken for the pinned one."""
    path = tmp_path / "built.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(catalogue.MEDICINES_XML, MEDICINES)
        archive.writestr(catalogue.CATEGORIES_XML, CATEGORIES)
        archive.writestr(catalogue.SPANISH_PO, SPANISH)
    monkeypatch.setattr(catalogue, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


class Pip:
    """Puts a file where pip would."""

    def __init__(self, downloads: bytes) -> None:
        self.downloads = downloads
        self.calls: list[list[str]] = []

    def __call__(self, arguments: list[str]) -> None:
        self.calls.append(list(arguments))
        dest = next(a.removeprefix("--dest=") for a in arguments if a.startswith("--dest="))
        (Path(dest) / catalogue.WHEEL_NAME).write_bytes(self.downloads)


def test_the_wheel_is_fetched_once_then_read_straight_from_the_cache(
    tmp_path: Path, wheel: Path
) -> None:
    pip = Pip(wheel.read_bytes())
    first = fetch_wheel(tmp_path / "cache", pip)
    second = fetch_wheel(tmp_path / "cache", pip)
    assert first == second
    assert len(pip.calls) == 1
    assert len(catalogue.read_catalogue(first).medicines) == 2
    assert [path.name for path in first.parent.iterdir()] == [first.name], "scratch left behind"


def test_pip_is_given_the_pinned_hash_and_no_dependencies(tmp_path: Path, wheel: Path) -> None:
    seen = []

    class Reading(Pip):
        def __call__(self, arguments: list[str]) -> None:
            requirement = next(a for a in arguments if a.startswith("--requirement="))
            seen.append(Path(requirement.removeprefix("--requirement=")).read_text())
            super().__call__(arguments)

    pip = Reading(wheel.read_bytes())
    fetch_wheel(tmp_path / "cache", pip)
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(pip.calls[0])
    assert f"--hash=sha256:{catalogue.WHEEL_SHA256}" in seen[0]


def test_a_damaged_wheel_in_the_cache_is_fetched_again(tmp_path: Path, wheel: Path) -> None:
    pip = Pip(wheel.read_bytes())
    kept = fetch_wheel(tmp_path / "cache", pip)
    kept.write_bytes(b"half a wh")
    assert fetch_wheel(tmp_path / "cache", pip).read_bytes() == wheel.read_bytes()
    assert len(pip.calls) == 2


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(
    tmp_path: Path, wheel: Path
) -> None:
    with pytest.raises(PermanentError, match="not the pinned file"):
        fetch_wheel(tmp_path / "cache", Pip(b"something else"))
    assert list((tmp_path / "cache" / "demo").iterdir()) == []


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(PermanentError, match="set CLINIC_CACHE"):
        fetch_wheel(tmp_path / "cache", Pip(wheel.read_bytes()))


@pytest.mark.parametrize(
    ("stderr", "error", "message"),
    [
        (
            "WARNING: Retrying after https://me:s3cret@index.test/simple\n"
            "ERROR: No matching distribution found at https://me:s3cret@index.test/simple",
            TransientError,
            "No matching distribution",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n Got ab",
            PermanentError,
            "another file than the pinned one",
        ),
        ("", TransientError, "pip ended with 1"),
    ],
)
def test_what_pip_says_becomes_one_sentence_without_passwords(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stderr: str,
    error: type[Exception],
    message: str,
) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        probe = "--version" in command
        return subprocess.CompletedProcess(command, 0 if probe else 1, "", stderr)

    monkeypatch.setattr(catalogue.subprocess, "run", run)
    with pytest.raises(error, match=message) as raised:
        fetch_wheel(tmp_path / "cache")
    assert "s3cret" not in str(raised.value)


def test_a_file_that_is_no_wheel_says_to_delete_it(tmp_path: Path) -> None:
    broken = tmp_path / "x.whl"
    broken.write_bytes(b"not a zip")
    with pytest.raises(PermanentError, match="Delete the file"):
        catalogue.read_catalogue(broken)
