import numba

from softmine.cli.complain import compiling_told


def test_compiling_is_told_once(capsys):
    loops = [numba.njit(lambda number, by=by: number + by) for by in range(3)]
    with compiling_told():
        assert capsys.readouterr().err == ""
        assert [loop(1) for loop in loops[:2]] == [1, 2]
        assert loops[0](1) == 1
    assert capsys.readouterr().err == "softmine: compiling kernels, once on this machine\n"
    with compiling_told():
        assert loops[0](1) == 1
    assert loops[2](1) == 3
    assert capsys.readouterr().err == ""
