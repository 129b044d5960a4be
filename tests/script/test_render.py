"""Templates substitute and never compute; every line knows where it is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from exa_cli.base import resources
from exa_cli.base.errors import Invalid
from exa_cli.script import quote
from exa_cli.script.directives import Line
from exa_cli.script.render import Block, Template, Word, render

TEMPLATES = sorted(resources.folder("templates").rglob("*.j2"))


def word(text: str) -> Word:
    return Word(quote.word(text), f"from {text}")


@pytest.mark.parametrize(
    "text",
    [
        "{% if a %}x{% endif %}",
        "{% for i in a %}{{ i }}{% endfor %}",
        "{% set b = a %}{{ b }}",
        "{{ a | upper }}",
        "{{ a + a }}",
        "{{ a.b }}",
        "{{ a[0] }}",
        "{{ a() }}",
        "{{ 'x' }}",
        "{{ a if a else a }}",
        "{% include 'x' %}",
        "{# a remark #}{{ a }}",
        "{{{ a }}}",
        "{{ a",
        "{{\n a }}",
    ],
)
def test_a_template_that_computes_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(Invalid, match="may only substitute names") as caught:
        render(Template("t", f"first\n{text}\n{{{{ a }}}}\n"), {"a": word("x")})
    assert str(caught.value.where).startswith("t:2")


def test_a_value_that_is_missing_or_left_out_is_an_error_never_silence() -> None:
    with pytest.raises(Invalid, match="the template needs a"):
        render(Template("t", "{{ a }}"), {})
    with pytest.raises(Invalid, match="the template leaves out b"):
        render(Template("t", "{{ a }}"), {"a": word("x"), "b": word("y")})


def test_whole_lines_do_not_fit_inside_a_line() -> None:
    with pytest.raises(Invalid, match="must stand alone"):
        render(Template("t", "echo {{ a }}"), {"a": Block(())})


def test_values_are_not_templates_themselves() -> None:
    script = render(Template("t", "echo {{ a }}"), {"a": word("{{ b }} {% if %}")})
    assert script.text == "echo '{{ b }} {% if %}'\n"


def test_each_line_has_its_origin() -> None:
    lines = (Line("one", "first"), Line("two", "second"))
    text = "# head\n  {{ block }}\nrun {{ a }} {{ b }} {{a}}\n{{ empty }}\n\nend\n"
    values = {"block": Block(lines), "empty": Block(()), "a": word("x"), "b": word("y")}
    script = render(Template("t", text), values)
    assert script.explained() == (
        ("# head", "t:1"),
        ("one", "first"),
        ("two", "second"),
        ("run x y x", "t:3; from x; from y"),
        ("", "t:5"),
        ("end", "t:6"),
    )
    assert script.text == "# head\none\ntwo\nrun x y x\n\nend\n"


def test_shell_text_of_a_template_stays_as_it_is() -> None:
    text = "a=$((a + 1)) ${b:-c} [ \"$d\" ] '\\n' # é\n"
    assert render(Template("t", text), {}).text == text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_shipped_templates_only_substitute_and_jinja2_makes_the_same_of_them(path: Path) -> None:
    import jinja2
    from jinja2 import nodes

    text = path.read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    tree = environment.parse(text)
    names = {node.name for node in tree.find_all(nodes.Name)}
    kinds = {type(node) for node in tree.find_all(nodes.Node)}
    assert kinds <= {nodes.Output, nodes.TemplateData, nodes.Name}
    values = {name: f"<{name}>" for name in names}
    words = {name: Word(quote.Shell(value), "") for name, value in values.items()}
    assert render(Template("t", text), words).text == environment.from_string(text).render(values)
    assert names


def test_templates_are_shipped() -> None:
    assert [path.parent.name for path in TEMPLATES] == ["gpulab", "local", "pbs", "slurm"]
