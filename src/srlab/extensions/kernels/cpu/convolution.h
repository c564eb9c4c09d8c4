// A 1x1 convolution of rows of pixels: packed weights, and addresses of the input channels, which may point anywhere.
#pragma once

#include "vectors.h"

namespace {

struct Convolution {
    const float *weights, *bias;
};

// rows[k] gives the address of input channel k; emit(n, at, vector) takes one vector of output channel n.
template <int N, class Emit>
INLINE void convolve_block(const float* const* rows, int64_t depth, int64_t channels, const Convolution& conv, int64_t at,
                           Emit emit) {
    for (int64_t first = 0; first < channels; first += TILE_ROWS) {
        Vector tile[TILE_ROWS][N];
        for (int m = 0; m < TILE_ROWS; ++m)
            for (int n = 0; n < N; ++n) tile[m][n] = spread(conv.bias[first + m]);
        multiply_add(tile, conv.weights + first * depth, TILE_ROWS, 1, depth, [&](int64_t k) { return rows[k] + at; });
        const int64_t rest = channels - first < TILE_ROWS ? channels - first : TILE_ROWS;
        for (int m = 0; m < rest; ++m)
            for (int n = 0; n < N; ++n) emit(first + m, at + n * LANES, tile[m][n]);
    }
}

template <class Emit>
INLINE void convolve_row(const float* const* rows, int64_t depth, int64_t channels, const Convolution& conv, int64_t width,
                         Emit emit) {
    int64_t at = 0;
    for (; at + TILE_VECTORS * LANES <= width; at += TILE_VECTORS * LANES)
        convolve_block<TILE_VECTORS>(rows, depth, channels, conv, at, emit);
    for (; at < width; at += LANES) convolve_block<1>(rows, depth, channels, conv, at, emit);
}

// Floats of a packed convolution: (blocks of TILE_ROWS outputs, inputs, TILE_ROWS), then the biases.
constexpr int64_t packed_floats(int64_t inputs, int64_t outputs) { return round_up(outputs, TILE_ROWS) * (inputs + 1); }

inline Convolution packed(const float* weights, int64_t inputs, int64_t outputs) {
    return {weights, weights + round_up(outputs, TILE_ROWS) * inputs};
}

}  // namespace
