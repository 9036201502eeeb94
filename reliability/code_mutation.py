"""Small faults in the source of a module, each at one place.

A fault replaces an operator or a number, turns a condition around, or leaves out an argument or a
call.
"""

import ast
import itertools
from collections.abc import Iterator

_PAIRS = ("Lt LtE", "Gt GtE", "Eq NotEq", "Is IsNot", "In NotIn", "Add Sub", "Mult Div", "And Or")
_SWAPS = dict(map(str.split, (*_PAIRS, "FloorDiv Mult", "Mod FloorDiv", "Pow Mult")))
_SWAPS |= {after: before for before, after in map(str.split, _PAIRS)}
# Left unchanged: messages, and checks that never fail.
_SKIPPED_CALLS = {"UserError", "ValueError", "SourceError", "ImageError", "note", "say", "noting"}
_SKIPPED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.ImportFrom, ast.Import)
_ANNOTATIONS = {"annotation", "returns", "type_params"}


def faults(tree: ast.AST) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """Yields faults: a parent, its field, and a new child for `new.replaced` there."""
    for field, value in ast.iter_fields(tree):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and field not in _ANNOTATIONS and not _is_skipped(child):
                for new in _replacements(child):
                    ast.copy_location(new, child)
                    new.replaced = child
                    yield tree, field, new
                yield from faults(child)


def _is_skipped(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name in _SKIPPED_CALLS
        case ast.keyword(arg="strict"):
            return True
    return isinstance(node, _SKIPPED)


def _swapped(operator: ast.AST) -> ast.AST:
    return getattr(ast, _SWAPS[type(operator).__name__])()


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may stand in the place of a node."""
    match node:
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield ast.Constant(2 * node.value if node.value else 1.0)
        case ast.Compare(ops=[op]):
            yield ast.Compare(node.left, [_swapped(op)], node.comparators)
        case ast.BinOp(op=op) if type(op).__name__ in _SWAPS and not _is_skipped(node.left):
            yield ast.BinOp(node.left, _swapped(op), node.right)
        case ast.BoolOp():
            yield ast.BoolOp(_swapped(node.op), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.If():
            yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield ast.Pass()
        case ast.Call(keywords=[*_, _]):
            for keyword in (k for k in node.keywords if k.arg and not _is_skipped(k)):
                rest = [k for k in node.keywords if k is not keyword]
                yield ast.Call(node.func, node.args, rest)


def mutant(source: str, number: int) -> tuple[str, int, str, str]:
    """Returns the source with a fault, its line, and its text before and after."""
    tree = ast.parse(source)
    parent, field, new = next(itertools.islice(faults(tree), number, None))
    old, value = new.replaced, getattr(parent, field)
    before, after = (" ".join(ast.unparse(node).split())[:200] for node in (old, new))
    replaced = [new if x is old else x for x in value] if isinstance(value, list) else new
    setattr(parent, field, replaced)
    return ast.unparse(ast.fix_missing_locations(tree)), old.lineno, before, after
