"""What hassfest and HACS look at, as far as it can be looked at offline, and the promises that files make each other."""

import ast
from collections.abc import Iterator
import json
from pathlib import Path
import re
import struct
import subprocess
import tomllib
from typing import Any

from awesomeversion import AwesomeVersion, AwesomeVersionStrategy
from homeassistant.components.marketplace.utils.validate import REPOSITORY_MANIFEST_VALUES
from homeassistant.components.sensor import SensorEntityDescription
import homeassistant.const as ha_const
from homeassistant.helpers.entity import EntityDescription
from homeassistant.loader import Manifest
from homeassistant.util.yaml import load_yaml_dict
from packaging.requirements import Requirement
import pytest

from custom_components.lfp_battery import bank_sensor_descriptions, binary_sensor, radio, sensor_descriptions, switch
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.const import DOMAIN

ROOT = Path(__file__).parents[1]
INTEGRATION = ROOT / "custom_components" / DOMAIN
ADDRESS = "https://github.com/lfp-battery/lfp-battery"
HOSTS = {
    *("127.0.0.1", "docs.astral.sh", "esphome.io", "github.com", "keepachangelog.com", "semver.org"),
    "www.home-assistant.io",
}


def _json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """The integration's manifest."""
    return _json(INTEGRATION / "manifest.json")


@pytest.fixture(scope="module")
def texts() -> dict[str, Any]:
    """The English texts."""
    return _json(INTEGRATION / "translations" / "en.json")


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """The modules that talk to Home Assistant, parsed."""
    return {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in INTEGRATION.glob("*.py")}


def _tracked() -> list[Path]:
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout, so nobody knows which files belong to the repository")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# --- the manifest ----------------------------------------------------------------------------------------------------


def test_manifest_has_the_keys_a_custom_integration_needs_and_no_others(manifest: dict[str, Any]) -> None:
    """Hassfest refuses a manifest that lacks one of these, or has a key that it does not know."""
    needed = {"domain", "name", "codeowners", "documentation", "issue_tracker", "version", "iot_class"}
    assert needed | {"integration_type", "config_flow"} <= manifest.keys()
    assert manifest.keys() <= Manifest.__annotations__.keys()


def test_manifest_keys_are_sorted_as_hassfest_wants_them(manifest: dict[str, Any]) -> None:
    """Domain, name, then the alphabet."""
    assert list(manifest) == ["domain", "name", *sorted(manifest.keys() - {"domain", "name"})]


def test_there_is_one_integration_and_its_folder_has_the_name_of_its_domain(manifest: dict[str, Any]) -> None:
    """HACS installs exactly one folder."""
    folders = [path.name for path in INTEGRATION.parent.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert folders == [manifest["domain"]] == [DOMAIN]


def test_manifest_says_where_the_repository_lives(manifest: dict[str, Any]) -> None:
    """Whoever publishes elsewhere must find every place, so the guide lists them as they stand."""
    guide = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    assert manifest["documentation"] == ADDRESS
    assert manifest["issue_tracker"] == f"{ADDRESS}/issues"
    assert manifest["codeowners"] == ["@lfp-battery"]
    for key in ("documentation", "issue_tracker", "codeowners"):
        assert f"`{json.dumps(key)}: {json.dumps(manifest[key])}`" in guide
    assert ADDRESS in (ROOT / "README.md").read_text(encoding="utf-8")


def test_version_is_the_same_everywhere_and_one_that_can_be_compared(manifest: dict[str, Any]) -> None:
    """The release workflow trusts the manifest's, packaging tools the project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert manifest["version"] == project["version"]
    assert AwesomeVersion(manifest["version"], ensure_strategy=AwesomeVersionStrategy.SEMVER).valid


def test_no_requirement_pins_what_home_assistant_pins(manifest: dict[str, Any]) -> None:
    """Another version of the same package cannot be installed beside Home Assistant's; a range has to hold it."""
    constraints = (Path(ha_const.__file__).parent / "package_constraints.txt").read_text(encoding="utf-8")
    pins = [Requirement(line) for line in constraints.splitlines() if re.match(r"[A-Za-z]", line)]
    pinned = {pin.name: pin.specifier for pin in pins}
    requirements = [Requirement(text) for text in manifest.get("requirements", [])]
    assert [r.name for r in requirements if any(part.operator in {"==", "==="} for part in r.specifier)] == []
    for requirement in requirements:
        versions = [part.version for part in pinned.get(requirement.name, ()) if part.operator == "=="]
        assert all(version in requirement.specifier for version in versions), requirement.name


# --- HACS ------------------------------------------------------------------------------------------------------------


def test_what_shows_up_by_itself_over_bluetooth_is_offered_by_hand_as_well(manifest: dict[str, Any]) -> None:
    """Matchers of the manifest and the list in the dialog agree on who may be a pack."""
    for matcher in manifest["bluetooth"]:
        name = matcher.get("local_name", "").replace("*", "12.8V100Ah-0001") or None
        assert radio.may_be_a_pack(name, [matcher["service_uuid"]] if "service_uuid" in matcher else []), matcher
    assert not radio.may_be_a_pack("Speaker", ["0000180f-0000-1000-8000-00805f9b34fb"])


def test_hacs_file_holds_only_keys_that_are_read_with_values_of_their_kind() -> None:
    """HACS refuses a repository with an unknown key; Home Assistant drops values of another kind."""
    hacs = _json(ROOT / "hacs.json")
    assert hacs["name"]
    for key, value in hacs.items():
        assert REPOSITORY_MANIFEST_VALUES[key](value) == value


def test_oldest_home_assistant_is_the_one_the_tests_run_with() -> None:
    """What is promised to HACS is what was tried."""
    pins = (ROOT / "requirements_test.txt").read_text(encoding="utf-8")
    assert f"homeassistant=={_json(ROOT / 'hacs.json')['homeassistant']}\n" in pins
    assert _json(ROOT / "hacs.json")["homeassistant"] == ha_const.__version__


def test_release_attaches_the_file_that_hacs_downloads() -> None:
    """Two files name the archive."""
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    name = _json(ROOT / "hacs.json")["filename"]
    assert f"--output={name} HEAD:custom_components/{DOMAIN}\n" in workflow
    assert f'gh release upload "$TAG" {name}\n' in workflow


@pytest.mark.parametrize(("name", "size"), [("icon.png", 256), ("icon@2x.png", 512)])
def test_brand_image_has_the_size_that_the_frontend_expects(name: str, size: int) -> None:
    """A PNG of that many pixels each way, with transparency, and small."""
    data = (INTEGRATION / "brand" / name).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, _, colour_type = struct.unpack(">IIBB", data[16:26])
    assert (width, height, colour_type) == (size, size, 6)
    assert len(data) < 50_000


def test_license_is_one_that_is_recognised() -> None:
    """HACS asks for an OSI licence."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License\n\nCopyright (c) 2026 lfp_battery contributors\n")


# --- files among themselves ------------------------------------------------------------------------------------------


def test_first_command_of_the_readme_is_the_demo_and_the_second_is_the_test() -> None:
    """Everybody meets these first; both exist and can be run."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    commands = [block.split()[0] for block in blocks[:2]]
    assert commands == ["scripts/demo", "scripts/test"]
    assert all((ROOT / command).stat().st_mode & 0o111 for command in commands)


def test_every_json_file_can_be_read_and_holds_no_key_twice() -> None:
    """A key that stands twice silently loses its first value."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        assert sorted(set(keys)) == sorted(keys)
        return dict(pairs)

    files = [path for path in _tracked() if path.suffix == ".json"]
    assert INTEGRATION / "manifest.json" in files
    for path in files:
        json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)


def test_every_workflow_can_be_read_and_has_a_job() -> None:
    """A typing error here would only show after publishing."""
    for path in (ROOT / ".github" / "workflows").iterdir():
        assert load_yaml_dict(str(path))["jobs"], path.name


def test_every_tested_version_is_pinned() -> None:
    """The same packages today and in a year."""
    for path in (ROOT / "requirements_test.txt", *(ROOT / "scripts").glob("requirements_*.txt")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
        assert [line for line in lines if not re.fullmatch(r"[\w-]+==[\w.]+", line)] == [], path.name


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    """Such a path works for one person, and tells about them."""
    private = re.compile(r"(?<![\w.])/(?:root|work|Users|home/(?!assistant)\w+)/")
    found = [
        path.relative_to(ROOT)
        for path in _tracked()
        if path.suffix != ".png" and private.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_files_point_only_at_hosts_that_are_meant() -> None:
    """Ours and those of documentation; where a machine gets its packages from is its own business."""
    link = re.compile(r"https?://(?!10\.)([\w.-]+)")  # addresses of private networks are examples
    found = {
        host
        for path in _tracked()
        if path.suffix != ".png"
        for host in link.findall(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert found <= HOSTS


def test_the_wire_side_knows_nothing_of_home_assistant() -> None:
    """It runs where Home Assistant is not installed, under any package name."""
    for path in (INTEGRATION / "bms").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(node.module or "")
            roots = {name.partition(".")[0] for name in names}
            assert roots.isdisjoint({"homeassistant", "voluptuous", "probatio", "custom_components"}), path.name


# --- texts -----------------------------------------------------------------------------------------------------------


def _flat(data: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flat(value, *path, key)
    else:
        yield path, data


def _constants(trees: dict[str, ast.Module]) -> set[str]:
    """Every string in the code except docstrings, and every name given to a keyword."""
    found: set[str] = set()
    for tree in trees.values():
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                found.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.AsyncFunctionDef):
                found.add(node.name)
    return found


def _keywords(trees: dict[str, ast.Module], name: str) -> set[str]:
    """What is given literally as this keyword, anywhere."""
    return {
        node.value.value
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
        and node.arg == name
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def test_every_text_is_there_and_complete(texts: dict[str, Any]) -> None:
    """No empty text, no stray space, no reference that only core can resolve."""
    for path, text in _flat(texts):
        assert text, path
        assert text == text.strip(), path
        assert "[%key" not in text, path


def test_every_field_of_a_form_has_a_name_and_an_explanation(texts: dict[str, Any]) -> None:
    """The quality scale asks for both."""
    for flow in ("config", "options"):
        for name, step in texts[flow]["step"].items():
            assert step.get("data", {}).keys() == step.get("data_description", {}).keys(), name


def test_every_message_of_the_flow_is_used(texts: dict[str, Any], trees: dict[str, ast.Module]) -> None:
    """A text that nothing shows is one that somebody still translates."""
    used = _constants(trees)
    config = texts["config"]
    for section in ("error", "abort", "progress"):
        assert config[section].keys() - used == set(), section
    for flow in ("config", "options"):
        assert {step for step in texts[flow]["step"] if f"async_step_{step}" not in used} == set()


def test_every_message_that_the_code_names_has_a_text(texts: dict[str, Any], trees: dict[str, ast.Module]) -> None:
    """Without one the person would see the key."""
    config = texts["config"]
    # these come translated from core
    core = {"reconfigure_successful"}
    repairs = {file: tree for file, tree in trees.items() if file == "repairs.py"}
    flows = {file: tree for file, tree in trees.items() if file not in repairs}
    assert _keywords(flows, "reason") - core - config["abort"].keys() == set()
    ends = [issue["fix_flow"]["abort"].keys() for issue in texts["issues"].values() if "fix_flow" in issue]
    assert _keywords(repairs, "reason") == set().union(*ends)
    assert all("entry_removed" in end for end in ends)
    forms = config["step"].keys() | texts["options"]["step"].keys()
    shown_as_progress = {"scan"}
    assert _keywords(trees, "step_id") - shown_as_progress - forms == set()
    failures = {
        node.args[0].value
        for node in ast.walk(trees["scan_flow.py"])
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_failed"
        and isinstance(node.args[0], ast.Constant)
    }
    assert failures
    assert failures - config["error"].keys() == set()


def test_every_placeholder_is_one_that_the_code_fills(texts: dict[str, Any], trees: dict[str, ast.Module]) -> None:
    """A placeholder that nobody fills would be shown with its braces."""
    used = _constants(trees)
    for path, text in _flat(texts):
        for name in re.findall(r"{(\w+)}", text):
            assert name in used, path


def test_every_loss_of_a_link_has_words(texts: dict[str, Any]) -> None:
    """Each way in which a link can fail is told apart when setting up fails."""
    assert texts["exceptions"].keys() >= {f"link_{problem.value}" for problem in LinkProblem}


def _sensors() -> list[SensorEntityDescription]:
    return [
        *sensor_descriptions.SENSORS,
        *sensor_descriptions.ENERGY_SENSORS,
        *bank_sensor_descriptions.BANK_SENSORS,
        *sensor_descriptions.cell_sensors(2),
        *sensor_descriptions.temperature_sensors((0, 1)),
    ]


def _keys(platform: str) -> set[str]:
    tables: dict[str, list[EntityDescription]] = {
        "sensor": [*_sensors()],
        "binary_sensor": [*binary_sensor.BINARY_SENSORS, *binary_sensor.CONDITIONS, binary_sensor.LINK],
        "switch": [*switch.SWITCHES],
    }
    return {description.translation_key for description in tables[platform] if description.translation_key}


@pytest.mark.parametrize("platform", ["sensor", "binary_sensor", "switch"])
def test_every_entity_has_a_name_and_every_name_an_entity(texts: dict[str, Any], platform: str) -> None:
    """Those named by their device class need none."""
    named = {key for key, entity in texts["entity"][platform].items() if "name" in entity}
    without_name = {key for key, entity in texts["entity"][platform].items() if "name" not in entity}
    assert _keys(platform) - without_name == named


def test_every_state_of_an_enumeration_has_a_text(texts: dict[str, Any]) -> None:
    """All the options, and nothing that can never be shown."""
    enumerations = [description for description in _sensors() if description.options]
    assert enumerations
    for description in enumerations:
        assert texts["entity"]["sensor"][description.translation_key]["state"].keys() == set(description.options or ())


def test_every_icon_belongs_to_a_text(texts: dict[str, Any]) -> None:
    """An icon under another key would never be shown."""
    for platform, icons in _json(INTEGRATION / "icons.json")["entity"].items():
        assert icons.keys() - texts["entity"][platform].keys() == set()
        for icon in (text for _, text in _flat(icons)):
            assert re.fullmatch(r"mdi:[a-z0-9-]+", icon)
