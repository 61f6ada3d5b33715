"""Converts values of a program's classes to plain values of the library's classes that they derive from, and back."""

from typing import Any

from alpharay.judge.guest.code_tests import values


def data_base(value: Any, name: str) -> Any:
    """The class of the library's data that it derives from and that has such a method; None: there is none."""
    return next(
        (each for each in type(value).__mro__ if each in values.WITH_BASE and name in vars(each)), None
    )


def without_its_class(base: Any, value: Any) -> Any:
    """The value as plain data: methods of the library ask an object of a class of the candidate's for its items."""
    if base not in values.MUTABLE:
        return copied(base, value)
    plain, tag = base(), values.MUTABLE[base]
    values.fill(plain, tag, values.content(value, tag))
    return plain


def member_value(member: Any) -> Any:
    """The value of an enumeration's member, without its class."""
    return member._value_


def copied(base: type, value: Any) -> Any:
    """The value as one of the library's own class."""
    if base is str:
        return str.__str__(value)
    if base in (int, float, complex):
        return {int: int.__index__, float: float.__float__, complex: complex.__complex__}[base](value)
    if base in (tuple, frozenset, bytes):
        return base(base.__iter__(value)) if base is not bytes else bytes(memoryview(value))
    return _as_own(base, value)


def _as_own(base: Any, value: Any) -> Any:
    """Dates, times and fractions, by their parts."""
    name = base.__name__
    if name == "Decimal":
        return base(base.__str__(value))
    if name == "Fraction":
        return base(value.numerator, value.denominator)
    if name == "timedelta":
        return base(value.days, value.seconds, value.microseconds)
    if name == "date":
        return base(value.year, value.month, value.day)
    if name == "time":
        return base(value.hour, value.minute, value.second, value.microsecond, value.tzinfo)
    return base(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.tzinfo,
    )


def made_of(base: Any, kind: type, plain: Any) -> Any:
    name = base.__name__
    if name == "Fraction":
        return base.__new__(kind, plain.numerator, plain.denominator)
    if name == "timedelta":
        return base.__new__(kind, plain.days, plain.seconds, plain.microseconds)
    if name in ("date", "time", "datetime"):
        return base.__new__(kind, *base.__reduce__(plain)[1])
    return base.__new__(kind, plain)
