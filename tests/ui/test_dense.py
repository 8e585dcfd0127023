"""The page is sent without what only readers of its source need, and does the same."""

from __future__ import annotations

import pytest

from art.ui.dense import dense_script, dense_style
from art.ui.shell import build_shell

BUDGET_BYTES = 150_000


def test_the_shell_of_the_page_stays_within_its_budget():
    assert len(build_shell({}).html) <= BUDGET_BYTES


@pytest.mark.parametrize(
    ("source", "dense"),
    [
        ("const one = 1; // first\n  const two = 2;\n\nlet three = one;\n", "const one=1,two=2;let three=one;"),
        ("for (const a of b) f(a);\nconst c = 1;\nif (c) g();", "for(const a of b)f(a);const c=1;if(c)g();"),
        ("const a = 1;\nif (a) f();\nconst b = 2;", "const a=1;if(a)f();const b=2;"),
        ("const f = (x) => { const y = x; return y; };\nconst z = 2;", "const f=x=>{const y=x;return y;},z=2;"),
        ("const f = async (x) => x, g = (x, y) => [x, y,];", "const f=async(x)=>x,g=(x,y)=>[x,y];"),
        ("a = b - -c + +d / e;", "a=b- -c+ +d/e;"),
        ("say(\"a  b // c\", 'd /* e */');", "say(\"a  b // c\",'d /* e */');"),
        ("say(`f   g\n   ${ h  +  1 }  i`);", "say(`f   g\n   ${h+1}  i`);"),
        ("x.replace(/a  [/]b/g, y) / 2 / 3", "x.replace(/a  [/]b/g,y)/2/3"),
        ("const [key, , after] = pair;\nreturn `\\`${a}`", "const[key,,after]=pair;return`\\`${a}`"),
        ('html`<p class="dim">\n    ${ x } c\n  </p>`', "html`<p class=dim>\n${x} c\n</p>`"),
        ("html`${ x && html`<b>a  b</b>\n  <i />` }`", "html`${x&&html`<b>a  b</b><i/>`}`"),
        ("html`<${Edge} each=${each} /> of \"a b\"`", "html`<${Edge} each=${each}/> of \"a b\"`"),
        ("if (a) { b(); }\nfoo();\nconst c = { d: 1 }\nbar()", "if(a){b();}\nfoo();const c={d:1}\nbar()"),
    ],
)  # fmt: skip
def test_a_script_loses_only_what_says_nothing(source: str, dense: str):
    assert dense_script(source) == dense


@pytest.mark.parametrize(
    ("source", "dense"),
    [
        (".a { color: red; } /* why */\n.b:not(.c) > d, e f { top: 0 }\n", ".a{color:red}.b:not(.c)>d,e f{top:0}"),
        ('@media (width: 9px) { a::b { content: "a : b; "; } }', '@media (width:9px){a::b{content:"a : b; "}}'),
        ("x { width: calc(100% - 2px + 1em); font: 13px/1.4 a; }", "x{width:calc(100% - 2px + 1em);font:13px/1.4 a}"),
    ],
)  # fmt: skip
def test_a_style_loses_only_what_says_nothing(source: str, dense: str):
    assert dense_style(source) == dense
