"""Every behavioural vector of the Java producer is named by a test, or says why it cannot be one (tests/vectors.py)."""

from __future__ import annotations

from vectors import Vectors, sources

SECTIONS = {
    "1 retry, expiry, ordering": "001 002 004 005 007 008 010 011 013 014 016 017 019 020",
    "2 leader changes and backoff": "025-032 034 035 037 038 040 041",
    "3 idempotent producer": "050 052 053 055 056 058 059 061-071 073-077 079 080 082 083 085 086 088 089 091 092 094 095",
    "4 transactions, the normal flow": "100 101 103 104 106 107 109 110 112 113 115 116 118 119 121 122 124 125",
    "5 transactions, errors": "130 131 133-140 142 143 145 146 148 149 151 152 154 155 157 158 160 161 163 164 166-170 172 173 175 176 178 179 181 182 184",
    "6 time-outs of the API, close": "190-194 196 197 199 200 202 203 205 206",
    "7 configuration and send()": "211-215 217 218 220-224 226 227 229 230",
    "8 accumulator, memory, partitioner": "241 242 244 245 247 248 250 251 253 254 256 257 259 260 262 263 265 266 268 269 271-275",
    "9 derived": "301 302 304 305 307 308 310",
}

PRODUCER = Vectors("PV", SECTIONS, excused="")
SOURCES = sources(but=__file__)


def test_every_vector_is_named_by_a_test_or_says_why_it_is_not() -> None:
    assert PRODUCER.uncounted(SOURCES.values()) == []
    assert len(PRODUCER.known) == 182


def test_what_is_inexpressible_is_not_tested_too() -> None:
    for name, source in SOURCES.items():
        tested, inexpressible = PRODUCER.named(source)

        assert tested & inexpressible == set(), name


def test_a_hole_would_show() -> None:
    """The checker turns red: on a vector that was renamed away, and on one that only a comment mentions."""
    assert PRODUCER.uncounted([text.replace("PV-055", "PV-999").replace("pv_055", "pv_999") for text in SOURCES.values()]) == ["PV-055"]
    assert PRODUCER.named('# PV-055\nTABLE = {"PV-055": 1}\nINEXPRESSIBLE = {"PV-020": "why"}\n') == (set(), {"PV-020"})
