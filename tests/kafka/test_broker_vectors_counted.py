"""Every behavioural vector of brokers and controller is named by a test, or says why it cannot be one, or is still to come (tests/vectors.py)."""

from __future__ import annotations

from vectors import Vectors, sources

SECTIONS = {
    "A producer state": "001 002 004-011 013-017 019 020 022 023 025 026 028-032 034 035 037 038",
    "B transactions inside a partition": "040 041 043-047 049-053 055 056 058 059 061 062",
    "C verification": "070 071 073 074 076 077 079 080 082 083",
    "D log offsets, high watermark, truncation, epochs": "090-092 094-098 100 101 103 104 106-110 112 113 115 116 118-122 124 125",
    "E partition leader": "130-134 136 137 139-143 145 146 148 149 151 152 154 155 157 158 160 161 163 164 166 167",
    "F produce and fetch": "170 172 173 175 176 178 179",
    "G controller": "190-197 199 200 202-206 208 209 211 212 214 215 217-227 229 230 232 233 235-239",
    "H transaction coordinator": "250 251 253 254 256 257 259 260 262 263 265 266 268 269 271 272 274-278 280-284 286 287 289 290 292 293 295-299"
    " 301 302 304 305 307 308 310 311 313-317",
    "I derived": "331 332 334-338 340 341 343 344 346 347",
}
OPEN: dict[str, str] = {}
"""Still to be done, and why it is not yet."""

BROKERS = Vectors("BV", SECTIONS, excused=" ".join(OPEN))
SOURCES = sources(but=__file__)


def test_every_vector_of_a_broker_is_a_test_or_says_why_not() -> None:
    for text, why in OPEN.items():
        print(f"open: BV {text}: {why}")

    assert BROKERS.uncounted(SOURCES.values()) == []


def test_no_vector_is_both_tested_and_excused() -> None:
    found = [BROKERS.named(source) for source in SOURCES.values()]
    tested = set().union(*(one for one, _ in found))
    excused = set().union(*(one for _, one in found))

    assert sorted(tested & excused) == []
    assert sorted(tested & BROKERS.excused) == []


def test_what_is_open_or_inexpressible_is_a_vector() -> None:
    excused = BROKERS.excused.union(*(BROKERS.named(source)[1] for source in SOURCES.values()))

    assert sorted(excused - set(BROKERS.known)) == []
    assert len(set(BROKERS.known)) == 225


def test_a_vector_without_a_test_would_show() -> None:
    """The counter turns red."""
    everything = [source for name, source in SOURCES.items() if name != "test_controller_vectors.py"]

    assert "BV-205" in BROKERS.uncounted(everything)
    assert BROKERS.named('def test_x():\n    """BV-001."""\nINEXPRESSIBLE = {"BV-002": "why"}\n') == ({"BV-001"}, {"BV-002"})
    assert BROKERS.mentioned("BV-115 to BV-117, BV-130") == ["BV-115", "BV-116", "BV-117", "BV-130"]
