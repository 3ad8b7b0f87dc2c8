"""Tools that Parley brings itself, as rows like those of any server. They only read, and need no network.

A new one is an entry in SPECS, a function here or in `chats.replies`, and a migration that installs it.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils import timezone

from chats.tools.values import FoundTool, Outcome

SERVER_NAME, PREFIX = "Parley", "parley"
SEARCH = "search_my_documents"
EXPRESSION_MAX_CHARACTERS = 500
DIGITS_MAX = 1_000
_READS = {"readOnlyHint": True, "openWorldHint": False}

SPECS = (
    FoundTool(
        name=SEARCH,
        title="Search my documents",
        description=(
            "Search the documents that the user has uploaded. Returns numbered passages with the document and page they"
            " are from. Ask in the words that would stand in the documents."
        ),
        input_schema={
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What to look for: a question or a few words."},
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 10,
                    "description": "Most passages; 5 if left out.",
                },
            },
            "required": ["query"],
        },
        annotations=_READS,
    ),
    FoundTool(
        name="current_time",
        title="Current time",
        description="The date and time now, with the day of the week, in any time zone.",
        input_schema={
            "type": "object",
            "properties": {
                "timezone": {"type": "string", "description": "An IANA name such as Europe/Berlin; UTC if left out."}
            },
        },
        annotations=_READS,
    ),
    FoundTool(
        name="calculator",
        title="Calculator",
        description=(
            "Work out an arithmetic expression exactly: + - * / // % **, parentheses, sqrt, log, exp, sin, cos, tan,"
            " abs, round, min, max, floor, ceil, factorial, pi, e."
        ),
        input_schema={
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "For example (17.5 * 3 + 2) / 7"}},
            "required": ["expression"],
        },
        annotations=_READS,
    ),
)


def run(name: str, arguments: Mapping[str, Any]) -> Outcome:
    """What the built-in tool of this name answers; `SEARCH` is not among those that run here."""
    return _TOOLS[name](arguments)


def _current_time(arguments: Mapping[str, Any]) -> Outcome:
    name = arguments.get("timezone") or "UTC"
    try:
        zone = ZoneInfo(str(name)[:64])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return _error(f"«{str(name)[:64]}» is no time zone. Use a name such as Europe/Berlin.")
    now: datetime = timezone.now().astimezone(zone)
    return Outcome(f"{now:%A}, {now.isoformat(timespec='seconds')} ({name})")


def _calculator(arguments: Mapping[str, Any]) -> Outcome:
    expression = str(arguments.get("expression", ""))
    if not 0 < len(expression) <= EXPRESSION_MAX_CHARACTERS:
        return _error(f"Give an expression of at most {EXPRESSION_MAX_CHARACTERS} characters.")
    try:
        value = _value_of(ast.parse(expression.replace("^", "**"), mode="eval").body)
        return Outcome(f"{value}")
    except ZeroDivisionError:
        return _error("Division by zero.")
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        return _error(f"This can't be worked out: {str(error)[:200] or type(error).__name__}")


def _round(number: Any, digits: int | None = None) -> Any:
    # `round(5, -10**9)` works out that power of ten first, and nothing else of this process runs meanwhile.
    if digits is not None and abs(digits) > DIGITS_MAX:
        raise ValueError(f"round takes at most {DIGITS_MAX} digits")
    return round(number, digits)


_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_NAMES = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("sqrt", "log", "log2", "log10", "exp", "sin", "cos", "tan")},
    **{name: getattr(math, name) for name in ("asin", "acos", "atan", "floor", "ceil")},
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
}


def _value_of(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _fitting(value)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=op, operand=inner) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value_of(inner))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value_of(left), _value_of(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _fitting(_OPERATORS[type(op)](_value_of(left), _value_of(right)))
        case ast.Call(func=ast.Name(id="factorial"), args=[number], keywords=[]):
            return _factorial(_value_of(number))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _fitting(_FUNCTIONS[name](*[_value_of(argument) for argument in arguments]))
    raise ValueError("only numbers, operators and the functions of the description can be used")


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) * max(1, abs(base)).bit_length() > 3_300:
        raise ValueError(f"the result would have more than {DIGITS_MAX} digits")
    value = base**exponent
    if isinstance(value, complex):
        raise ValueError("the result is not a real number")  # noqa: TRY004 - the value is wrong, not its type
    return _fitting(value)


def _factorial(number: Any) -> int:
    if not isinstance(number, int) or not 0 <= number <= 400:
        raise ValueError("factorial takes whole numbers from 0 to 400")
    return math.factorial(number)


def _fitting(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > 3_320:
        raise ValueError(f"the result would have more than {DIGITS_MAX} digits")
    return value


def _error(message: str) -> Outcome:
    return Outcome(message, is_error=True)


_TOOLS: Mapping[str, Callable[[Mapping[str, Any]], Outcome]] = {
    "current_time": _current_time,
    "calculator": _calculator,
}
