"""Limits that CONTRIBUTING.md states, checked on the source: sizes, import cycles, names, annotations."""

import ast
from collections.abc import Iterator
from pathlib import Path

import srlab

SOURCE = Path(srlab.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Triton kernels are one function each; their size is that of the algorithm.
KERNEL_DECORATORS = ("triton.jit", "jit", "triton.autotune", "autotune")


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {path: ast.parse(path.read_text()) for path in FILES}
MODULES = {name_of(path): path for path in FILES}


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, tree in TREES.items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement to the end: signatures with an argument a line are tables."""
    documented = ast.get_docstring(function, clean=False) is not None
    first = function.body[documented] if len(function.body) > documented else function.body[0]
    assert function.end_lineno is not None
    return function.end_lineno - first.lineno + 1


def imported_at_load(tree: ast.Module) -> set[str]:
    """Modules of srlab that are imported when the module is, not inside functions or for type checkers."""
    found: set[str] = set()
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("srlab"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("srlab")}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            waiting += [*node.body, *node.orelse, *node.finalbody]
    return found & MODULES.keys()


def test_files_fit_on_a_few_screens():
    limits = {path: 400 if "models" in path.relative_to(SOURCE).parts else 300 for path in FILES}
    assert not [name_of(path) for path, limit in limits.items() if len(path.read_text().splitlines()) > limit]


def test_bodies_of_functions_have_at_most_40_lines():
    long = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for path, node in functions()
        if body_lines(node) > 40
        and not any(ast.unparse(each).startswith(KERNEL_DECORATORS) for each in node.decorator_list)
    ]
    assert not long


def test_imports_have_no_cycles():
    """A package's __init__ counts as a module of its own; what it re-exports is below it."""
    edges = {name: imported_at_load(TREES[path]) - {name} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for below in sorted(edges[name]):
            visit(below, (*trail, name))
        done.add(name)

    for name in edges:
        visit(name, ())


def test_nearly_everything_is_annotated():
    slots = annotated = 0
    for _, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        named = [each for each in arguments if each.arg not in ("self", "cls")]
        slots += len(named) + 1
        annotated += sum(each.annotation is not None for each in named) + (node.returns is not None)
    assert annotated / slots >= 0.99


def test_no_file_is_a_drawer_for_everything():
    drawers = {"utils", "util", "common", "helpers", "misc"}
    assert not [name for name in MODULES if drawers & set(name.split("."))]
