"""Nothing in the product executes what it reads: no pickle, no shell, no eval, no unsafe loader."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from service.dispatch.notifier import celery_app

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("service", "workers", "monai_bundle", "deploy")
MODULES: Final = frozenset(
    {"pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib", "commands", "pty"}
)
CALLS: Final = frozenset(
    {
        *("eval", "exec", "os.system", "os.popen", "os.execl", "os.execlp", "os.spawnl"),
        *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
        *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    }
)
# torch.load raises it where weights_only=True refuses a file
HARMLESS: Final = frozenset({"pickle.UnpicklingError"})


def faults(source: str) -> Iterator[str]:
    """Yield what a module must not do."""
    tree = ast.parse(source)
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named = {name.split(".")[0] for name in used - HARMLESS}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                harmless = {each.name for each in names} if used & HARMLESS else set()
                for each in names:
                    if each.name.split(".")[0] in MODULES and each.name not in harmless - named:
                        yield each.name
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                yield module
            case ast.Call():
                yield from call_faults(node)


def call_faults(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {each.arg: ast.unparse(each.value) for each in call.keywords}
    if name in CALLS:
        yield name
    if given.get("shell", "False") != "False":
        yield f"{name}(shell=…)"
    if given.get("allow_pickle", "False") != "False":
        yield f"{name}(allow_pickle=…)"
    if name in {"torch.load", "load_state_dict_from_url"} and given.get("weights_only") != "True":
        yield f"{name} without weights_only=True"


def test_the_product_does_none_of_it() -> None:
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 200
    found = {str(path.relative_to(ROOT)): list(faults(path.read_text())) for path in sources}
    assert {path: each for path, each in found.items() if each} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle\ntry:\n    pickle.loads(b)\nexcept pickle.UnpicklingError:\n    pass",
        "from pickle import loads",
        "def f():\n    import marshal",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "yaml.load(file, Loader=yaml.Loader)",
        "eval(text)",
    ],
)
def test_each_of_it_is_found(source: str) -> None:
    assert len(list(faults(source))) == 1


def test_the_broker_carries_json_alone() -> None:
    conf = celery_app("redis://localhost/0").conf
    assert (conf.task_serializer, list(conf.accept_content)) == ("json", ["json"])
