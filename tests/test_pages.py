"""What the pages show works: links lead somewhere, commands exist, and run or say why not."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from bench_cli import QUICK, bench
from documented import ROOT, anchors, command_blocks, links, page

PAGES = sorted(path.name for path in ROOT.glob("*.md"))
PAGES += [f"results/{path.name}" for path in sorted((ROOT / "results").glob("*.md"))]
PAGES += ["benchmarks/speed/reference.md"]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))

#: Pages whose commands tests of their own follow, as far as they are run.
FOLLOWED = {
    "docs/plugins.md": "test_plugins_page.py",
    "docs/data.md": "test_data_page.py",
    "README.md": "test_readme.py",
}

#: What makes a verb's example microscopic.
SMALL = {"run": QUICK, "test-method": ["--network", "test_mit"], "sweep": ["--dry-run"]}

BUILD = ROOT / "docs/build.py"


@pytest.fixture(scope="module")
def build():
    """docs/build.py, which makes pages of the site."""
    specification = importlib.util.spec_from_file_location("docs_build", BUILD)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(build):
    return build.reference()


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name, made):
    """To a file of the repository or a page that is made, and to a heading of it."""
    for target, anchor in links(page(name)):
        path = ((ROOT / name).parent / target).resolve() if target else ROOT / name
        place = path.relative_to(ROOT / "docs").as_posix() if ROOT / "docs" in path.parents else ""
        assert path.exists() or place in made, target
        if anchor and path.suffix == ".md":
            text = made.get(place) or path.read_text("utf-8")
            assert anchor in anchors(text), f"{target}#{anchor}"


@pytest.fixture(scope="module")
def command():
    from typer.main import get_command

    from harness.cli.main import app

    return get_command(app)


@pytest.mark.parametrize("name", PAGES)
def test_every_documented_command_exists(name, command):
    """Verbs and options of each `bench ...` line of a page are those of the command line."""
    text = page(name).replace("\\\n", " ")
    for line in re.findall(r"^\s*(?:\$ )?bench (.*)$", text, re.MULTILINE):
        words = line.split("#")[0].split()
        here = command
        while words and words[0] in getattr(here, "commands", {}):
            here = here.commands[words.pop(0)]
        assert not getattr(here, "commands", None) or words[:1] in (["--help"], []), line
        options = {name for parameter in here.params for name in (*parameter.opts,)}
        options |= {name for parameter in here.params for name in parameter.secondary_opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in options | {"--help"}, line


@pytest.mark.parametrize("name", [name for name in PAGES if name not in FOLLOWED])
def test_commands_are_run_here_or_marked(name, tmp_path, monkeypatch):
    """In an empty folder, one after the other, by settings that make them microscopic."""
    blocks = [block for block in command_blocks(page(name)) if not block.not_run]
    if not blocks:
        return
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    for line in (line for block in blocks for line in block.lines):
        words = shlex.split(line.replace("RUN_ID", newest_run()), comments=True)
        assert words[0] == "bench", f"{line}: mark it `<!-- not run: why -->`, or run it here"
        outcome = bench(*words[1:], *SMALL.get(words[1], []))
        assert outcome.code == 0, (line, outcome)


def prepare(folder: Path) -> None:
    """What the pages suppose: of this project's records those that they name, and photographs."""
    (folder / "results/records").mkdir(parents=True)
    for method in ("source_only", "daformer", "dualkd"):
        for record in (ROOT / "results/records").glob(f"{method}-gta2cs-tiny-mini_s-*.json"):
            shutil.copy(record, folder / "results/records")
    (folder / "photos").mkdir()
    (folder / "photos/street.png").write_bytes((ROOT / "docs/adverse.png").read_bytes())


def newest_run() -> str:
    records = sorted(Path("runs/records").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return records[-1].stem.rpartition("-")[2] if records else "RUN_ID"


def test_blocks_of_commands_and_their_marks_are_seen():
    text = "a\n\n    bench list\n    more\n\n<!-- not run: why -->\n```sh\nbench a \\\n  --b\n```\n"
    text += "\n    +6.3 ~\n\n1. b\n\n       pip install x\n"
    blocks = command_blocks(text)
    assert [block.lines for block in blocks] == [
        ["bench list", "more"],
        ["bench a --b"],
        ["pip install x"],
    ]
    assert [block.not_run for block in blocks] == [None, "why", None]


def test_anchors_are_githubs():
    text = "# A `b` & c\n\n```sh\n# no heading\n```\n\n## A\n\n## A\n"
    assert anchors(text) == {"a-b--c", "a", "a-1"}


def test_the_reference_names_all_there_is(made):
    from harness.config import catalogue
    from harness.config.schema import Profile
    from methods import registry

    text = made["reference/methods.md"]
    for name in registry.names():
        assert f"\n## {name}\n" in text
        assert all(f"| `{k}` |" in text for k in registry.load(name).Config.model_fields)
    for verb in ("bench run", "bench data verify", "bench export"):
        assert f"\n## {verb}\n" in made["reference/commands.md"]
    assert (
        "`--as` `palette\\|overlay\\|side\\|labelids\\|trainids`" in made["reference/commands.md"]
    )
    knobs = set(Profile.model_fields) - {"name", "description"}
    assert all(f"| `{knob}` |" in made["reference/profiles.md"] for knob in knobs)
    for name in (*catalogue.names("scenarios"), *catalogue.names("suites"), "mini_m"):
        assert f"| `{name}` |" in made["reference/names.md"]


def test_links_of_the_site_stay_within_it(build):
    text = (
        "[a](docs/data.md#x) [`b`](results/b) [c](https://c) ![d](docs/d.png)\n```\n[e](e)\n```\n"
    )
    expected = "[a](data.md#x) `results/b` [c](https://c) ![d](d.png)\n```\n[e](e)\n```\n"
    assert build.relinked(text, "README.md", "index.md") == expected
    text = "[a](../README.md) [the rest](../LICENSE) [r](reference/commands.md)"
    expected = "[a](index.md) the rest (`LICENSE`) [r](reference/commands.md)"
    assert build.relinked(text, "docs/data.md", "data.md") == expected
    text = "[a report](results/report/index.html) [tables](results/README.md)"
    expected = "[a report](report/index.html) tables (`results/README.md`)"
    assert build.relinked(text, "README.md", "index.md") == expected


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    commands = pytest.importorskip("mkdocs.commands.build")
    pytest.importorskip("material")
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path))
    config.plugins.on_startup(command="build", dirty=False)
    try:
        commands.build(config)
    except Abort as end:
        pytest.fail(str(end))
    finally:
        config.plugins.on_shutdown()
    index = (tmp_path / "index.html").read_text("utf-8")
    assert "reference/commands/" in index
    assert 'href="report/"' in index
    for path in (ROOT / "results/report").rglob("*"):
        assert (tmp_path / "report" / path.relative_to(ROOT / "results/report")).exists()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*\.(?:js|css|woff2?)"', index)
