"""Read configs that MMEngine has written out, as checkpoints hold them, without running them."""

import ast
from typing import Any

from mmengine.config import Config

from cda_mmseg.utils.loading.errors import UntrustedCheckpointError


def read_config_text(text: str, place: str) -> Config:
    """Read assignments of plain values, which is all that ``Config.pretty_text`` consists of.

    Args:
        text: The config.
        place: Where it stands, for errors.

    Raises:
        UntrustedCheckpointError: If there is anything else in it; nothing of it has run.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise UntrustedCheckpointError(f'{place} holds a config that is no Python ({error}). Name the file.') from error
    values = {}
    for statement in body:
        match statement:
            case ast.Expr(ast.Constant(str())):
                continue
            case ast.Assign([ast.Name(name)], value):
                values[name] = _value(value, place)
            case _:
                raise _refusal(statement, place)
    return Config(values)


def _value(node: ast.expr, place: str) -> Any:
    match node:
        case ast.Call(ast.Name('dict'), [], keywords) if all(keyword.arg for keyword in keywords):
            return {keyword.arg: _value(keyword.value, place) for keyword in keywords}
        case ast.Call(ast.Name('dict'), [ast.Dict() as content], []):
            return _value(content, place)
        case ast.Dict(keys, values) if None not in keys:
            return {_value(key, place): _value(value, place) for key, value in zip(keys, values, strict=True) if key}
        case ast.List(elements):
            return [_value(element, place) for element in elements]
        case ast.Tuple(elements):
            return tuple(_value(element, place) for element in elements)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _refusal(node, place) from None


def _refusal(node: ast.AST, place: str) -> UntrustedCheckpointError:
    return UntrustedCheckpointError(
        f'{place} holds a config with more than plain values ({ast.unparse(node)[:60]}); it was refused and none of it '
        'ran. Name a config file that you trust.'
    )
