"""Writes a page for each wing of zoo into `docs/api`: its public names, with signatures and docstrings as they are.

The source is read, not imported (griffe), so that annotations and defaults are shown as they were written. Docstrings
are Markdown with the sections of Google's style; what is a public name in backticks becomes a link.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe
from sphinx.application import Sphinx

WINGS = ("norm", "models", "losses", "layers", "data", "weights", "training", "plots", "explain", "errors")
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
ITEM = re.compile(r"^([^\s:][^:]*): +(.*)$")
CODE_SPAN = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "api"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(folder: Path) -> None:
    """Write `index.md`, `zoo.md` and a page for each wing; what has not changed is not touched."""
    site = Site()
    pages = {"index": site.index(), "zoo": site.front_page()} | {f"zoo.{wing}": site.page(wing) for wing in WINGS}
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


class Site:
    """What is public, and where it is shown."""

    def __init__(self) -> None:
        self.zoo = griffe.load("zoo", resolve_aliases=True)
        self.wings = {wing: dict(_public_members(self.zoo[wing])) for wing in WINGS}
        # From where an object is defined to the name under which its wing shows it.
        self.shown = {
            _resolved(member).path: f"zoo.{wing}.{name}" for wing in WINGS for name, member in self.wings[wing].items()
        }
        self.shorter = {self.shown[path]: f"zoo.{name}" for name in self.top for path in [self._path_of(name)]}
        self.links = {full: full for full in self.shown.values()}
        self.links |= {short: full for full, short in self.shorter.items()}

    @property
    def top(self) -> list[str]:
        """Names of `zoo` itself that are not wings."""
        return [str(name) for name in self.zoo.exports or () if str(name) not in WINGS]

    def _path_of(self, name: str) -> str:
        return _resolved(self.zoo[name]).path

    def index(self) -> str:
        """The list of pages."""
        rows = [("zoo", self.zoo), *((f"zoo.{wing}", self.zoo[wing]) for wing in WINGS)]
        lines = ["# API", "", "Public names, from their docstrings. What begins with an underscore may change.", ""]
        lines += ["| module | |", "|---|---|"]
        lines += [f"| [`{name}`]({name}.md) | {_first_line(module)} |" for name, module in rows]
        lines += ["", "```{toctree}", ":hidden:", "", *(name for name, _ in rows), "```", ""]
        return "\n".join(lines)

    def front_page(self) -> str:
        """`zoo` itself: each name leads to its wing."""
        wings = {wing: [name for name in self.top if self._path_of(name) in self._paths(wing)] for wing in WINGS}
        lines = ["# `zoo`", "", "```{py:module} zoo", "```", "", *self._text(_docstring(self.zoo), "zoo"), ""]
        for wing, names in wings.items():
            if names:
                title = f"[`zoo.{wing}`](zoo.{wing}.md): {_first_line(self.zoo[wing])}"
                lines += [title, "", *self._table(wing, names, prefix="zoo."), ""]
        return "\n".join(lines)

    def page(self, wing: str) -> str:
        """All names of a wing."""
        module = f"zoo.{wing}"
        lines = [f"# `{module}`", "", f"```{{py:module}} {module}", "```", ""]
        lines += [*self._text(_docstring(self.zoo[wing]), module), ""]
        lines += [*self._table(wing, list(self.wings[wing])), ""]
        for name, member in self.wings[wing].items():
            lines += [*self._object(module, name, _resolved(member)), ""]
        if wing == "models":
            lines += self._families()
        return "\n".join(lines)

    def _families(self) -> Iterator[str]:
        """The modules of the families, which have pages of their own."""
        yield from (
            "## Families",
            "",
            "A module for each family of nets; [the pages of the families](../families/index.md).",
            "",
        )
        for name, module in sorted(self.zoo["models"].members.items()):
            if not module.is_alias and module.is_module and "VARIANTS" in module.members:
                full = f"zoo.models.{name}"
                yield from (f"### `{full}`", "", f"```{{py:module}} {full}", "```", "", _first_line(module), "")

    def _paths(self, wing: str) -> set[str]:
        return {_resolved(member).path for member in self.wings[wing].values()}

    def _table(self, wing: str, names: list[str], prefix: str = "") -> Iterator[str]:
        yield from ("```{container} names", "| name | |", "|---|---|")
        for name in names:
            found = _resolved(self.wings[wing][name])
            says = _first_line(found) or (f"`{found.value}`" if found.is_attribute else "")
            says = self._linked(says, f"zoo.{wing}").replace("|", r"\|")
            yield f"| {{py:obj}}`{prefix}{name} <zoo.{wing}.{name}>` | {says} |"
        yield "```"

    def _object(self, module: str, name: str, found: griffe.Object) -> Iterator[str]:
        full = f"{module}.{name}"
        options = [f":canonical: {self.shorter[full]}"] if full in self.shorter else []
        if found.is_class:
            body = [*self._docstring_of(found, module), *self._members(found, module)]
            yield from _directive("py:class", name + self._signature(_fields(found)), options, body, 6)
        elif found.is_function:
            signature = name + self._signature(found.parameters, found.returns)
            yield from _directive("py:function", signature, options, self._docstring_of(found, module), 5)
        else:
            body = [*self._docstring_of(found, module)]
            if found.annotation is not None and str(found.annotation) != "TypeAlias":
                options.append(f":type: {self._annotation(found.annotation)}")
            elif len(value := str(found.value)) < 80:
                options.append(f":value: {value}")
            yield from _directive("py:data", name, options, body, 5)

    def _members(self, found: griffe.Class, module: str) -> Iterator[str]:
        for name, member in found.members.items():
            if member.is_alias or (name.startswith("_") and name != "__call__"):
                continue
            yield ""
            if member.is_function:
                arguments = [parameter for parameter in member.parameters if parameter.name not in ("self", "cls")]
                signature = name + self._signature(arguments, member.returns)
                yield from _directive("py:method", signature, [], self._docstring_of(member, module), 5)
            elif "property" in member.labels or member.docstring:
                options = [f":type: {self._annotation(member.annotation)}"] if member.annotation else []
                if member.value is not None:
                    options.append(f":value: {_default(str(member.value))}")
                kind = "py:property" if "property" in member.labels else "py:attribute"
                yield from _directive(kind, name, options, self._docstring_of(member, module), 5)

    def _signature(self, parameters: object, returns: object = None) -> str:
        parts, starred = [], False
        for one in parameters:
            kind = one.kind.value if one.kind else ""
            if kind == "keyword-only" and not starred:
                parts.append("*")
            starred = starred or kind in ("keyword-only", "variadic positional")
            stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
            part = stars + one.name
            if one.annotation is not None:
                part += f": {self._annotation(one.annotation)}"
            if one.default is not None and not stars:
                part += (" = " if one.annotation is not None else "=") + _default(str(one.default))
            parts.append(part)
        arrow = f" -> {self._annotation(returns)}" if returns is not None else ""
        return f"({', '.join(parts)}){arrow}"

    def _annotation(self, annotation: object) -> str:
        """As written, but names of zoo in full, which Sphinx links and shortens."""
        if isinstance(annotation, str):
            return annotation
        tokens = annotation.iterate(flat=True)
        return "".join(
            self.shown.get(token.canonical_path, token.name) if isinstance(token, griffe.ExprName) else str(token)
            for token in tokens
        )

    def _docstring_of(self, found: griffe.Object, module: str) -> list[str]:
        return list(self._text(_docstring(found), module, itself=found.name))

    def _text(self, docstring: str, module: str, itself: str = "") -> Iterator[str]:
        """Sections become definition lists, examples code."""
        lines, section = docstring.splitlines(), ""
        for i, line in enumerate(lines):
            if SECTION.match(line):
                section = line[:-1]
                yield from ("", f"**{line[:-1]}**", "")
            elif section and line.startswith("  "):
                line = line[2:]
                if section not in ("Returns", "Yields") and (item := ITEM.match(line)) and not line.startswith("`"):
                    names = ", ".join(f"`{name.strip()}`" for name in item[1].split(","))
                    yield from ("", names, f": {self._linked(item[2], module, itself)}")
                else:
                    after = "  " if line[:1] == " " else ""
                    yield after + self._linked(line.strip(), module, itself)
            elif line.startswith(">>>"):
                section = ""
                if not i or not lines[i - 1].strip():
                    yield "```pycon"
                yield line
                if i + 1 == len(lines) or not lines[i + 1].strip():
                    yield "```"
            else:
                section = section if not line.strip() else ""
                inside = _is_inside_example(lines, i)
                yield line if inside else self._linked(line, module, itself)
                if inside and (i + 1 == len(lines) or not lines[i + 1].strip()):
                    yield "```"

    def _linked(self, text: str, module: str, itself: str = "") -> str:
        def link(match: re.Match[str]) -> str:
            name = match[1]
            full = self.links.get(name) or self.links.get(f"zoo.{name}") or self.links.get(f"{module}.{name}")
            says_what = "_" in name or "." in name or name != name.lower()  # not `load`, which may be a word
            return f"{{py:obj}}`{name} <{full}>`" if full and says_what and name != itself else match[0]

        return CODE_SPAN.sub(link, text)


def _is_inside_example(lines: list[str], i: int) -> bool:
    """Whether a line without a prompt follows one with a prompt."""
    while i >= 0 and lines[i].strip():
        if lines[i].startswith(">>>"):
            return True
        i -= 1
    return False


def _directive(kind: str, head: str, options: list[str], body: list[str], ticks: int) -> Iterator[str]:
    fence = "`" * ticks
    yield from (f"{fence}{{{kind}}} {head}", *options, "", *body, fence)


def _public_members(module: griffe.Module) -> Iterator[tuple[str, griffe.Object | griffe.Alias]]:
    """In the order of `__all__`, or of a wing's imports; of a module by itself, what it defines."""
    package = module.is_init_module
    for name in [str(name) for name in module.exports or module.members]:
        member = module.members.get(name)
        if member is None or name.startswith("_") or (member.is_alias and not package) or member.is_module:
            continue
        if not member.is_alias or member.target_path.startswith("zoo."):
            yield name, member


def _resolved(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if member.is_alias else member


def _docstring(found: griffe.Object) -> str:
    """Of a constant, else the comment above it or on its line, or what its module says of it."""
    if found.docstring:
        return found.docstring.value
    if not found.is_attribute:
        return ""
    lines = found.filepath.read_text().splitlines()
    above = []
    for line in reversed(lines[: found.lineno - 1]):
        if not line.startswith("# "):
            break
        above.insert(0, line[2:])
    beside = lines[found.lineno - 1].partition("  # ")[2]
    module = found.parent.docstring.value if found.parent and found.parent.docstring else ""
    return "\n".join(above) or beside or (module if f"`{found.name}" in module else "")


def _first_line(found: griffe.Object) -> str:
    """The first sentence, or the first paragraph where that has no end."""
    paragraph = " ".join(_docstring(found).split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph, maxsplit=1)[0]


def _fields(found: griffe.Class) -> list[griffe.Parameter]:
    """What the class is called with: of dataclasses and Linen modules their fields, inherited ones first."""
    if "__init__" in found.members and found.members["__init__"].parameters and "dataclass" not in found.labels:
        return [parameter for parameter in found.members["__init__"].parameters if parameter.name != "self"]
    fields: dict[str, griffe.Parameter] = {}
    for one in [*reversed(found.mro()), found]:
        only = (
            griffe.ParameterKind.keyword_only
            if "kw_only" in str(one.keywords if hasattr(one, "keywords") else "")
            else None
        )
        for name, member in one.members.items():
            plain = member.is_attribute and member.annotation is not None and "property" not in member.labels
            if plain and "ClassVar" not in str(member.annotation) and not name.startswith("_"):
                keyword = only or ("kw_only=True" in str(member.value) and griffe.ParameterKind.keyword_only) or None
                value = None if member.value is None else str(member.value)
                fields[name] = griffe.Parameter(name, annotation=member.annotation, kind=keyword, default=value)
    return sorted(fields.values(), key=lambda field: field.kind is not None)


def _default(value: str) -> str:
    """A default as a signature shows it; of a dataclass's `field` what it is about."""
    if value.startswith("field("):
        found = re.search(r"default=([^,)]+)|default_factory=(\w+)", value)
        return (found[1] or {"dict": "{}", "tuple": "()", "list": "[]"}.get(found[2], "...")) if found else "..."
    return value
