"""Which system calls the filter of a judged program allows: its instructions are read as the kernel reads them."""

import pytest

from alpharay.judge.guest.seccomp import (
    ALLOW,
    AND,
    AUDIT_ARCH_X86_64,
    CHECKED,
    DONE,
    EXECUTING,
    FARTHEST,
    FORKING,
    JEQ,
    JGE,
    JSET,
    KILL_PROCESS,
    LOAD,
    MAKING,
    NEWEST_KNOWN,
    NOT_IMPLEMENTED,
    OWN_PID,
    PLAIN,
    PRETENDED,
    REFUSE,
    RETURN,
    UNKNOWN,
    X32_BIT,
    build,
    build_forked,
)

I386 = 0x40000003
ALLOWED = {number for numbers in PLAIN.values() for number in numbers}
PRCTL, CLONE, KILL, MMAP, SOCKETPAIR, SENDTO, EXECVEAT = 157, 56, 62, 9, 53, 44, 322
FORK, THREAD = 0x8000 | 17, 0x3D0F00
KINDS = [{}, {"executing": True}, {"forking": True}, {"making": True}, {"executing": True, "making": True}]


def answer(program, number, *arguments, arch=AUDIT_ARCH_X86_64):
    words = {0: number, 4: arch}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words |= {16 + 8 * index: value & 0xFFFFFFFF, 20 + 8 * index: value >> 32}
    value = at = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case _ if code == LOAD:
                value = words[operand]
            case _ if code == AND:
                value &= operand
            case _ if code == RETURN:
                return operand
            case _:
                true = {JEQ: value == operand, JGE: value >= operand, JSET: bool(value & operand)}[code]
                at += if_true if true else if_false


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind) or "usual")
def test_every_system_call_gets_its_answer(kind):
    program = build(**kind)
    checked = {*CHECKED, *(EXECUTING if "executing" in kind else ()), *(FORKING if "forking" in kind else ())}
    for number in set(range(NEWEST_KNOWN + 200)) - checked:
        if number in ALLOWED or ("making" in kind and number in MAKING):
            expected = ALLOW
        elif "making" in kind and number in PRETENDED:
            expected = DONE
        else:
            expected = UNKNOWN if number in NOT_IMPLEMENTED or number > NEWEST_KNOWN else REFUSE
        assert answer(program, number) == expected, number


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind) or "usual")
def test_a_call_in_a_foreign_abi_ends_the_program(kind):
    program = build(**kind)
    for number in range(NEWEST_KNOWN):
        assert answer(program, number, arch=I386) == KILL_PROCESS
        assert answer(program, number | X32_BIT) == KILL_PROCESS


@pytest.mark.parametrize(
    ("number", "allowed", "refused"),
    [
        (PRCTL, [(15,), (16,)], [(0,), (1,), (4,), (22,), (38,)]),
        (CLONE, [(THREAD,), (0x7D0F00,)], [(FORK,), (17,), (0,), (0x10000000,)]),
        (KILL, [(OWN_PID,)], [(0,), (1,), (0xFFFFFFFF,)]),
        (MMAP, [(0, 4096, 3, 0x22)], [(0, 4096, 3, 0x40022)]),
        (SOCKETPAIR, [(1, 1), (1, 0x80801)], [(1, 2), (2, 1), (10, 1)]),
        (SENDTO, [(3, 1, 1, 0, 0)], [(3, 1, 1, 0, 0x7F00), (3, 1, 1, 0, 1 << 32)]),
        (16, [(0, 0x5401), (0, 0x541B)], [(0, 0x5412)]),
        (72, [(0, 1030), (0, 4)], [(0, 8), (0, 1031)]),
    ],
)
def test_what_is_allowed_with_some_arguments_is_refused_with_others(number, allowed, refused):
    usual, making = build(), build(making=True)
    for program in (usual, making):
        assert {answer(program, number, *arguments) for arguments in allowed} == {ALLOW}
        assert {answer(program, number, *arguments) for arguments in refused} == {REFUSE}


def test_one_image_is_executed_by_its_descriptor_where_one_is_at_all():
    assert answer(build(executing=True), EXECVEAT, 4, 0, 0, 0, 0x1000) == ALLOW
    for arguments in ((3, 0, 0, 0, 0x1000), (4, 0, 0, 0, 0), (4, 0, 0, 0, 0x1100)):
        assert answer(build(executing=True), EXECVEAT, *arguments) == REFUSE
    for program in (build(), build(forking=True), build(making=True)):
        assert answer(program, EXECVEAT, 4, 0, 0, 0, 0x1000) == REFUSE


def test_what_only_a_forking_process_may_do_is_taken_from_its_children():
    """Of two filters the stricter answer counts."""
    forking, forked, usual = build(forking=True), build_forked(), build()
    assert answer(forking, CLONE, FORK) == answer(forking, KILL, 1) == answer(forking, PRCTL, 1) == ALLOW
    for number in range(NEWEST_KNOWN + 200):
        for first in (0, 1, 15, 17, FORK, THREAD, OWN_PID):
            answers = [answer(each, number, first) for each in (forking, forked)]
            stricter = next((each for each in answers if each != ALLOW), ALLOW)
            assert stricter == answer(usual, number, first), (number, first)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind) or "usual")
def test_the_kernel_has_little_to_translate(kind):
    """Once for each child."""
    program = build(**kind)
    assert len(program) <= 200
    assert all(max(if_true, if_false) <= FARTHEST for _, if_true, if_false, _ in program)
