"""What the documents name is there, and each check is seen to fail on a page that is broken."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
INFRA = ROOT / "infra"
MAP = "docs/README.md"
BROKEN = "docs/broken.md"
"""A page that is not there, for the tests of the checks."""
LONGEST = 250
"""Lines of a page: what somebody reads from start to end."""

Pages = Mapping[str, str]
"""Text by place in the repository."""
Check = Callable[[Pages], list[str]]
"""What is wrong, each with the page that says it."""

# What commands of the documents write, and what a reader brings.
WRITTEN = {
    "backend.tf",
    "azuredeploy.json",
    "local.settings.json",
    "my-parameters.json",
    "my-records.jsonl",
    "outputs.json",
    "outputs-test.json",
    "terraform.tfvars",
    "test.tfvars",
    "test-parameters.json",
}
PROGRAMS = {
    "run": ["local/__main__.py"],
    "rig": ["local/__main__.py"],
    "bench": ["local/bench/command.py"],
    "replay": ["local/replay.py"],
    "cost": ["scripts/cost.py"],
    "smoke": ["scripts/smoke.py"],
}
"""By target, where the options of its program are."""


def text_of(*paths: str) -> str:
    return "\n".join((ROOT / path).read_text() for path in paths)


def documents() -> dict[str, str]:
    paths = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    paths += sorted((ROOT / "docs").rglob("*.md"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


PAGES = documents()


def found(pages: Pages, pattern: str) -> Iterator[tuple[str, str]]:
    """Each page with what the pattern's first group finds in it."""
    for page, text in pages.items():
        for each in re.finditer(pattern, text, re.M):
            yield page, each[1]


def unknown(pages: Pages, pattern: str, known: set[str]) -> list[str]:
    return [f"{page}: {each}" for page, each in found(pages, pattern) if each not in known]


def prose(text: str) -> str:
    """What is no code that stands on lines of its own."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)


def blocks(text: str) -> list[str]:
    """The commands, each with a word in place of what the reader fills in."""
    found = re.findall(r"^( *)```sh\n(.*?)^\1```$", text, re.M | re.S)
    return [re.sub(r"<[^<>\n]+>", "filled-in", block) for _, block in found]


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    seen: Counter[str] = Counter()
    made = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w -]", "", plain).replace(" ", "-")
        made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return made


def links(pages: Pages) -> list[str]:
    wrong = []
    for page, target in found(pages, r"\]\(([^)\s]+)\)"):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        place = (ROOT / page).parent / path if path else ROOT / page
        name = place.resolve().relative_to(ROOT).as_posix()
        if name not in pages and (name.endswith(".md") or not place.exists()):
            if not (name == "CHANGELOG.md" and place.exists()):
                wrong.append(f"{page}: {target}")
        elif anchor and anchor not in anchors(pages[name]):
            wrong.append(f"{page}: {target}")
    return wrong


@cache
def settings_known() -> set[str]:
    """Of the app, of azd and of the workflow."""
    sample = set(json.loads(text_of("local.settings.sample.json"))["Values"])
    others = text_of("infra/bicep/main.parameters.json", "infra/azd.sh", "azure.yaml")
    others += text_of(".github/workflows/deploy.yml")
    return sample | set(re.findall(r"\b(M365_[A-Z_]+[A-Z])\b", others))


def settings(pages: Pages) -> list[str]:
    pattern = r"\b(M365_[A-Z0-9_]*[A-Z0-9]|[A-Z_]+_SCHEDULE)\b(?!_)"
    return unknown(pages, pattern, settings_known())


@cache
def parameters_known() -> set[str]:
    """Of both parts, in the spelling of either language."""
    texts = text_of("infra/bicep/main.bicep", "infra/bicep/identity/main.bicep")
    variables = text_of(
        "infra/terraform/main/variables.tf", "infra/terraform/identity/variables.tf"
    )
    return set(re.findall(r"^param (\w+)", texts, re.M)) | set(
        re.findall(r'^variable "(\w+)"', variables, re.M)
    )


def parameters(pages: Pages) -> list[str]:
    """In a file of parameters, in terraform.tfvars, on the command line."""
    forms = (
        r'"(\w+)": \{ "value":',
        r"`(\w+) = [^`]+`",
        r"-var (\w+)=",
        r"--parameters (\w+)=",
    )
    deploying = {page: text for page, text in pages.items() if page.startswith("docs/")}
    return [each for form in forms for each in unknown(deploying, form, parameters_known())]


def outputs(pages: Pages) -> list[str]:
    bicep = text_of("infra/bicep/main.bicep", "infra/bicep/identity/main.bicep")
    terraform = text_of("infra/terraform/main/outputs.tf", "infra/terraform/identity/outputs.tf")
    known = set(re.findall(r"^output (\w+)", bicep, re.M))
    known |= set(re.findall(r'^output "(\w+)"', terraform, re.M))
    forms = (r"\boutput -raw (\w+)", r"\boutputs? `(\w+)`", r"azd env get-value (\w+)")
    return [each for form in forms for each in unknown(pages, form, known)]


def targets(pages: Pages) -> list[str]:
    known = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.M))
    wrong = unknown(pages, r"(?:^ *|`|[A-Z_]+=\w+ )make ([a-z]+)\b", known)
    for page, text in pages.items():
        for target, given in re.findall(r'make ([a-z]+) ARGS="([^"]*)"', text):
            if target in PROGRAMS:
                source = text_of(*PROGRAMS[target])
                options = re.findall(r"--[a-z-]+", given)
                wrong += [f"{page}: {each}" for each in options if f'"{each}"' not in source]
    return wrong


def azd(pages: Pages) -> list[str]:
    hooks = set(re.findall(r"^  (\w+):$", text_of("azure.yaml").partition("hooks:")[2], re.M))
    taken = text_of("infra/bicep/main.parameters.json", "infra/azd.sh")
    known = set(re.findall(r"\$\{?(M365_\w+)", taken))
    wrong = unknown(pages, r"azd env set (?:-- )?(\w+)", known)
    return wrong + unknown(pages, r"azd hooks run (\w+)", hooks)


def files(pages: Pages) -> list[str]:
    """Paths from the root, and names of files in code."""
    here = r"(?:infra|docs|tests|shared|functions|local|scripts|\.github|\.ci|\.devcontainer)"
    wrong = []
    for page, path in found(pages, rf"(?<![\w./<-])({here}/[\w./-]*\w)"):
        exists = path in pages if path.endswith(".md") else (ROOT / path).exists()
        if not exists and PurePosixPath(path).name not in WRITTEN:
            wrong.append(f"{page}: {path}")
    names = r"`(?:@)?([\w.-]+\.(?:md|json|jsonl|yaml|toml|txt|sh|py|tf|tfvars|yml))`"
    return wrong + unknown(pages, names, file_names() | WRITTEN)


@cache
def file_names() -> set[str]:
    skipped = {".git", ".venv", ".cache", "node_modules"}
    top = [each for each in ROOT.iterdir() if each.name not in skipped]
    below = (each for folder in top if folder.is_dir() for each in folder.rglob("*.*"))
    return {each.name for each in (*top, *below)}


def commands(pages: Pages) -> list[str]:
    """A shell can read them, and the tools are those that a page asks for."""
    tools = {"az", "azd", "cat", "cd", "cp", "do", "done", "echo", "export", "for", "getent", "git"}
    tools |= {
        "make",
        "openssl",
        "printf",
        "python3",
        "python3.13",
        "rm",
        "umask",
        "sudo",
        "terraform",
        "zip",
    }
    wrong = []
    for page, text in pages.items():
        for block in blocks(text):
            shell = ["bash", "-n"]
            read = subprocess.run(shell, input=block, text=True, capture_output=True, check=False)
            if read.returncode:
                wrong.append(f"{page}: {read.stderr}")
            plain = re.sub(r"<<'?TEXT'?\n.*?^ *TEXT$", "", block, flags=re.M | re.S)
            plain = re.sub(r"\\\n", " ", plain)
            plain = re.sub(r"'[^']*'", "''", plain)
            for line in plain.splitlines():
                word = re.sub(r"^(?:[a-zA-Z_]+=(?:\$\(|\S* ?))*", "", line.strip()).split(" ")[0]
                known = word in tools or word.startswith(("#", ".venv/bin/")) or not word
                if not known and not (ROOT / word).is_file():
                    wrong.append(f"{page}: {word}")
    templates = unknown(pages, r"(?:--template-file|-chdir=)\s?([\w./-]+\w)", folders())
    return wrong + templates


@cache
def folders() -> set[str]:
    known = {*INFRA.glob("terraform/*"), *INFRA.rglob("main.bicep")}
    return {path.relative_to(ROOT).as_posix() for path in known}


def sizes(pages: Pages) -> list[str]:
    return [
        f"{page}: {len(text.splitlines())} lines"
        for page, text in pages.items()
        if page.startswith("docs/") and len(text.splitlines()) > LONGEST
    ]


def mapped(pages: Pages) -> list[str]:
    """Nothing stands where nobody is led to."""
    listed = {
        ((ROOT / MAP).parent / target).resolve().relative_to(ROOT).as_posix()
        for target in re.findall(r"\]\(([\w./-]+\.md)", pages[MAP])
    }
    return [f"{page}: not in {MAP}" for page in pages if page not in listed | {MAP}]


def once(pages: Pages) -> list[str]:
    """A sentence on two pages is a fact that will differ one day; so is a parameter, or an alert."""
    places: dict[str, set[str]] = {}
    for page, text in pages.items():
        running = re.sub(r"^(?:\||#|\s*(?:[-*]|\d+\.) )", "\n\n", prose(text), flags=re.M)
        paragraphs = (" ".join(each.split()) for each in re.split(r"\n\s*\n", running))
        for sentence in (s for each in paragraphs for s in re.split(r"(?<=[.:!?])\s", each)):
            if len(sentence.split()) >= 12 and "](" not in sentence:
                places.setdefault(sentence, set()).add(page)
        if page.startswith("docs/deploying/") or page == BROKEN:
            # Both parts have some parameters, by one name.
            part = (
                "of the identity part"
                if page == "docs/deploying/identity.md"
                else "of the main part"
            )
            for name in re.findall(r"^\| `(\w+)`[^|]* \|", text, re.M):
                if name in parameters_known():
                    places.setdefault(f"`{name}` {part}", set()).add(page)
        if page != MAP:
            for name in re.findall(r"^\| ([\w-]+) \|", text, re.M):
                if name in alerts():
                    places.setdefault(f"alert {name}", set()).add(page)
    return [f"{min(where)}: {what}" for what, where in places.items() if len(where) > 1]


@cache
def alerts() -> list[str]:
    return [each["name"] for each in json.loads(text_of("infra/alerts.json"))]


def from_code(pages: Pages) -> list[str]:
    """What code, infrastructure and workflows send their readers to."""
    kinds = {".py", ".sh", ".bicep", ".tf", ".yml", ".yaml"}
    places = ("shared", "functions", "local", "scripts", "infra", ".github")
    paths = [each for place in places for each in (ROOT / place).rglob("*") if each.suffix in kinds]
    wrong = []
    for path in [*paths, ROOT / "azure.yaml", ROOT / "Makefile", ROOT / "function_app.py"]:
        said = re.findall(r"(docs/[\w/-]+\.md)(?:, \\?[\"'](\w[\w ]+)\\?[\"'])?", path.read_text())
        for page, title in said:
            if page not in pages or title not in pages[page]:
                wrong.append(f"{page}: {title} in {path.relative_to(ROOT)}")
    return wrong


CHECKS: list[Check] = [
    links,
    settings,
    parameters,
    outputs,
    targets,
    azd,
    files,
    commands,
    sizes,
    mapped,
    once,
    from_code,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda each: each.__name__)
def test_what_the_documents_name_is_there(check: Check) -> None:
    assert check(PAGES) == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (links, "[away](nowhere.md)"),
        (links, "[away](deploying/azd.md#nowhere)"),
        (links, "[away](#nowhere)"),
        (links, "[away](../infra/nowhere.sh)"),
        (settings, "Set `M365_TENENT_ID`."),
        (settings, "Set `AUDIT_TEAMS_SCHEDULE`."),
        (parameters, '`"clientID": { "value": "x" }`'),
        (parameters, "`clientid = true`"),
        (parameters, "`-var clientid=x`"),
        (parameters, "`--parameters clientid=x`"),
        (outputs, "`azd env get-value NOTHING`"),
        (outputs, "output `NOTHING`"),
        (outputs, "`terraform output -raw nothing`"),
        (targets, "`make nothing`"),
        (targets, "```sh\nmake nothing\n```"),
        (targets, '`make smoke ARGS="--nothing"`'),
        (azd, "`azd env set M365_ANYTHING x`"),
        (azd, "`azd hooks run nothing`"),
        (files, "See `infra/nowhere.sh`."),
        (files, "See docs/nowhere.md."),
        (files, "See `nowhere.json`."),
        (commands, "```sh\nfor each in a b; do\n```"),
        (commands, "```sh\npowershell x\n```"),
        (commands, "```sh\ninfra/nowhere.sh --dry-run\n```"),
        (commands, "```sh\naz deployment sub create --template-file infra/nowhere.bicep\n```"),
        (sizes, "line\n" * (LONGEST + 1)),
        (mapped, "on no map"),
        (once, "| `retentionHours` | 168 | how long |"),
        (once, "| feed-silent | when it is silent |"),
        (once, "Each event's body is one record, byte for byte as Microsoft sent it."),
    ],
)
def test_a_check_sees_a_page_that_is_broken(check: Check, text: str) -> None:
    """Without this a check that looks at nothing would pass for ever."""
    assert check({**PAGES, BROKEN: text})


def test_a_page_that_code_names_is_missed() -> None:
    for gone in ("docs/deploying/removal.md", "docs/errors.md"):
        assert from_code({page: text for page, text in PAGES.items() if page != gone})
    assert from_code({**PAGES, "docs/deploying.md": "nothing of that name"})
