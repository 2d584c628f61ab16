"""Reading assembly: loops, loads and occupancy of a kernel small enough to check by hand."""

import pytest

from ops.bench.silicon import assembly, report
from ops.bench.silicon.configuration import Configuration, Trip

TEXT = """\
tiny:                                   ; @tiny
\ts_load_dword s0, s[4:5], 0x0
.LBB0_1:                                ; outer
\tv_mov_b32_e32 v0, 0
.LBB0_2:                                ; inner
\tflat_load_dwordx4 v[0:3], v[4:5]
\tflat_load_ubyte v6, v[4:5]
\tv_mac_f32_e32 v0, v1, v2
\tv_mad_i32_i24 v0, v1, v2, v0
\tv_add_u32_e32 v4, vcc, 16, v4
\ts_cbranch_vccnz .LBB0_2
\tv_add_f32_e32 v0, v1, v2
\ts_cbranch_scc1 .LBB0_1
\ts_endpgm
.Lfunc_end0:
; codeLenInByte = 84
  - .args:
    .group_segment_fixed_size: 12800
    .max_flat_workgroup_size: 256
    .name:           tiny
    .private_segment_fixed_size: 0
    .sgpr_count:     20
    .sgpr_spill_count: 0
    .vgpr_count:     33
    .vgpr_spill_count: 0
"""


@pytest.fixture
def tiny() -> assembly.Built:
    return assembly.read(TEXT, "tiny")


def test_the_innermost_loop_is_the_hot_one(tiny: assembly.Built) -> None:
    (loop,) = tiny.loops

    assert tiny.hot == loop
    assert loop.vector == 3
    assert loop.products == 1 + 2  # an operand of v_mad_i32_i24 holds two rows
    assert loop.loads == {"dwordx4": 1, "ubyte": 1}
    assert loop.loaded == 16 + 1


def test_registers_and_local_memory_bound_the_waves(tiny: assembly.Built) -> None:
    # 33 registers become 36: 256 // 36 = 7 waves; 65536 // 12800 = 5 groups of 4 waves on 4 SIMDs
    assert tiny.waves == 5
    assert tiny.code_bytes == 84


def test_instructions_per_weight_count_unrolled_trips_as_one(tiny: assembly.Built) -> None:
    written = Configuration("tiny", "tiny", trip=Trip(weights=1, loaded=17))

    assert report.per_weight(written, tiny) == 3.0


def test_a_loop_that_loads_something_else_is_told(tiny: assembly.Built) -> None:
    written = Configuration("tiny", "tiny", trip=Trip(weights=4, loaded=16))

    with pytest.raises(ValueError, match="16 bytes per trip, its hot loop loads 17"):
        report.per_weight(written, tiny)


def test_a_kernel_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no kernel 'large'"):
        assembly.read(TEXT, "large")
