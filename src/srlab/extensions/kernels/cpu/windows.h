// Windows of float32 maps: the cyclic shift is index arithmetic; a window's tokens are gathered along the vectors' lanes.
#pragma once

#include "vectors.h"

namespace {

constexpr int64_t TASK_TOKENS = 256;   // windows of one task hold about as many tokens
constexpr float LOG2_E = 1.44269504f;  // logits are powers of 2, not of e

struct Map {
    float* data;
    int64_t image, channel, row, pixel;  // strides
    float* at(int64_t b, int64_t c) const { return data + b * image + c * channel; }
    bool operator==(const Map& other) const {
        return data == other.data && image == other.image && channel == other.channel && row == other.row &&
               pixel == other.pixel;
    }
};

// Consecutive channels that attend in windows of one side, `heads` times `depth` of them.
struct Group {
    int64_t side, shift, heads, depth;
    int64_t query, value, result;  // first channel in the maps of queries and keys, of values, of results
    const float* bias;  // times log2(e): (heads, keys, tokens), padded, or (heads, 2 side - 1, 2 side - 1); or null
    bool by_distance;   // the latter, for whole vectors in a row of the window
    float* log_sums;    // of each token, window by window: log2 of the sum of its exponentials; or null
    int64_t tokens() const { return side * side; }
    int64_t padded() const { return round_up(tokens(), LANES); }
    int64_t bias_size() const { return by_distance ? (2 * side - 1) * (2 * side - 1) : padded() * padded(); }
};

constexpr int64_t GROUP_NUMBERS = 7;

inline Group make_group(const int64_t* n) { return {n[0], n[1], n[5], n[6], n[2], n[3], n[4], nullptr, false, nullptr}; }

inline Map make_map(float* data, const int64_t* s) { return {data, s[0], s[1], s[2], s[3]}; }

struct MapSize {
    int64_t batch, height, width;
};

struct Window {
    int64_t number, image, top, left;
};

// Calls copy(token, row, column, count) for each run of pixels that lie side by side in the window and in the map.
template <class Copy>
INLINE void for_each_run(const MapSize& size, const Group& group, const Window& window, Copy copy) {
    const int64_t side = group.side;
    int64_t left = window.left + group.shift;
    if (left >= size.width) left -= size.width;
    const int64_t unbroken = size.width - left < side ? size.width - left : side;
    for (int64_t y = 0; y < side; ++y) {
        int64_t row = window.top + y + group.shift;
        if (row >= size.height) row -= size.height;
        copy(y * side, row, left, unbroken);
        if (unbroken < side) copy(y * side + unbroken, row, int64_t{0}, side - unbroken);
    }
}

INLINE void copy_run(float* to, const float* from, int64_t count) {
    switch (count) {  // constant sizes become plain moves
        case 4: memcpy(to, from, 16); break;
        case 8: memcpy(to, from, 32); break;
        case 16: memcpy(to, from, 64); break;
        default: memcpy(to, from, count * sizeof(float));
    }
}

// (depth, stride) of a window, zeros after the last token.
INLINE void gather(const MapSize& size, const Group& group, const Window& window, const Map& map, int64_t channel,
                   int64_t stride, float* to) {
    const int64_t surplus = stride - group.tokens();
    for (int64_t c = 0; surplus && c < group.depth; ++c)
        memset(to + c * stride + group.tokens(), 0, surplus * sizeof(float));
    const float* start = map.at(window.image, channel);
    for_each_run(size, group, window, [&](int64_t token, int64_t row, int64_t column, int64_t count) {
        const float* from = start + row * map.row + column * map.pixel;
        if (map.pixel == 1) {
            for (int64_t c = 0; c < group.depth; ++c) copy_run(to + c * stride + token, from + c * map.channel, count);
        } else {
            for (int64_t p = 0; p < count; ++p)
                for (int64_t c = 0; c < group.depth; ++c)
                    to[c * stride + token + p] = from[p * map.pixel + c * map.channel];
        }
    });
}

INLINE void scatter(const MapSize& size, const Group& group, const Window& window, const Map& map, int64_t channel,
                    int64_t stride, const float* from) {
    float* start = map.at(window.image, channel);
    for_each_run(size, group, window, [&](int64_t token, int64_t row, int64_t column, int64_t count) {
        float* to = start + row * map.row + column * map.pixel;
        if (map.pixel == 1) {
            for (int64_t c = 0; c < group.depth; ++c) copy_run(to + c * map.channel, from + c * stride + token, count);
        } else {
            for (int64_t p = 0; p < count; ++p)
                for (int64_t c = 0; c < group.depth; ++c)
                    to[p * map.pixel + c * map.channel] = from[c * stride + token + p];
        }
    });
}

// Calls visit(window) for each window of the map; the threads of a parallel region share them.
template <class Visit>
INLINE void for_each_window(const MapSize& size, const Group& group, Visit visit) {
    const int64_t across = size.width / group.side, lines = size.height / group.side, windows = size.batch * lines * across;
    const int64_t together = TASK_TOKENS / group.tokens() > 1 ? TASK_TOKENS / group.tokens() : 1;
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t task = 0; task < (windows + together - 1) / together; ++task) {
        const int64_t end = (task + 1) * together < windows ? (task + 1) * together : windows;
        for (int64_t number = task * together; number < end; ++number) {
            const int64_t line = number / across;
            visit(Window{number, line / lines, line % lines * group.side, number % across * group.side});
        }
    }
}

}  // namespace
