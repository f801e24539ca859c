#pragma once

// Comes before every header of Highway: which instruction sets it compiles kernels for. Those of
// Ice Lake and Zen 4 compress 16-bit lanes by one instruction, but Highway leaves them out unless
// asked.
#define HWY_WANT_AVX3_DL
