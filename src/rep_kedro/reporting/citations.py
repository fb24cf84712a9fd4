"""Sources of measures as links and as BibTeX; only what a source says, nothing is looked up."""

import re
import unicodedata
from collections.abc import Iterable

BETWEEN_SOURCES = "; "
_IDENTIFIER = re.compile(r"arXiv:(?P<arxiv>\d{4}\.\d{4,5})|doi:(?P<doi>10\.\d{4,9}/[-.()/:\w]*\w)", re.ASCII)
_AUTHORS_AND_YEAR = re.compile(r"(?P<authors>.+?) (?P<year>\d{4})\b")
_HOSTS = {"arxiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
Piece = tuple[str, str]


def linked(source: str) -> list[Piece]:
    """Return a source as pieces of text, each with its address; empty where a piece has none.

    Example:
        >>> linked("Lin 1991, doi:10.1109/18.61115")
        [('Lin 1991, ', ''), ('doi:10.1109/18.61115', 'https://doi.org/10.1109/18.61115')]
    """
    pieces, end = [], 0
    for found in _IDENTIFIER.finditer(source):
        kind = str(found.lastgroup)
        pieces += [(source[end : found.start()], ""), (found[0], f"{_HOSTS[kind]}{found[kind]}")]
        end = found.end()
    return [piece for piece in [*pieces, (source[end:], "")] if piece[0]]


def bibtex(sources: Iterable[str]) -> str:
    """Return one entry for each paper with an identifier, by name and year; empty where there is none.

    Titles are not part of the sources: reference managers complete entries by their identifier.

    Example:
        >>> print(bibtex(["Khosla & Williams 2023, arXiv:2311.09466, section 2"]))
        @misc{khosla2023,
          author = {Khosla and Williams},
          year = {2023},
          eprint = {2311.09466},
          archivePrefix = {arXiv}
        }
    """
    entries: dict[str, tuple[str, str]] = {}
    for paper in sorted({part for source in sources for part in source.split(BETWEEN_SOURCES)}):
        identifier, named = _IDENTIFIER.search(paper), _AUTHORS_AND_YEAR.match(paper)
        if identifier and named:
            entries.setdefault(identifier[0], _entry_of(identifier, named))
    keys = [key for key, _ in entries.values()]
    written = []
    for place, (key, fields) in enumerate(entries.values()):
        letter = chr(ord("a") + keys[:place].count(key)) if keys.count(key) > 1 else ""
        written.append(f"@misc{{{key}{letter},\n{fields}\n}}")
    return "\n\n".join(written)


def _entry_of(identifier: re.Match[str], named: re.Match[str]) -> tuple[str, str]:
    """Return key and fields of an entry."""
    authors = named["authors"].replace(" et al.", ", others").replace(" & ", ", ")
    fields = {"author": authors.replace(", ", " and "), "year": named["year"]}
    if identifier["arxiv"]:
        fields |= {"eprint": identifier["arxiv"], "archivePrefix": "arXiv"}
    else:
        fields["doi"] = identifier["doi"]
    plain = unicodedata.normalize("NFKD", authors.partition(",")[0])  # keys are letters and digits of ASCII
    first = re.sub(r"\W", "", plain, flags=re.ASCII).lower()
    return f"{first}{named['year']}", ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
