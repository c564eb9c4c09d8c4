// Attention inside windows of float32 maps: no rolled, rearranged or stored map; the cyclic shift is index arithmetic.
//
// A window's tokens lie along the vectors' lanes: logits(j, i) of key j and a vector of queries i. Maxima and sums over the
// keys are then sums of vectors, and both products are the same inner loop over rows that stay in the first-level cache.
#include "vectors.h"

#include <omp.h>

#include <limits>

namespace {

constexpr int KEYS = LANES / 2;         // keys of one tile of logits
constexpr int64_t TASK_TOKENS = 256;    // windows of one task hold about as many tokens
constexpr float LOG2_E = 1.44269504f;   // logits are powers of 2, not of e
constexpr float FOREIGN = -100.0f * LOG2_E;
constexpr float LOWEST = -std::numeric_limits<float>::infinity();

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
    int64_t side, shift, first, heads, depth;
    const float* bias;  // times log2(e): (heads, keys, tokens), padded, or (heads, 2 side - 1, 2 side - 1); or null
    bool by_distance;   // the latter, for whole vectors in a row of the window
    int64_t tokens() const { return side * side; }
    int64_t padded() const { return round_up(tokens(), LANES); }
    int64_t bias_size() const { return by_distance ? (2 * side - 1) * (2 * side - 1) : padded() * padded(); }
};

struct Attention {
    Map query, key, value, result;
    int64_t batch, height, width;
    float scale;
    bool masked;
};

struct Window {
    int64_t image, top, left;
};

// Calls copy(token, row, column, count) for each run of pixels that lie side by side in the window and in the map.
template <class Copy>
INLINE void for_each_run(const Attention& maps, const Group& group, const Window& window, Copy copy) {
    const int64_t side = group.side;
    int64_t left = window.left + group.shift;
    if (left >= maps.width) left -= maps.width;
    const int64_t unbroken = maps.width - left < side ? maps.width - left : side;
    for (int64_t y = 0; y < side; ++y) {
        int64_t row = window.top + y + group.shift;
        if (row >= maps.height) row -= maps.height;
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

// One thread's memory and the attention of one window and head.
class Worker {
   public:
    Worker(const Attention& maps, float* scratch, int64_t most_padded, int64_t most_depth) : maps_(maps) {
        query_ = scratch;
        key_ = query_ + most_depth * most_padded;
        value_ = key_ + most_depth * most_padded;
        result_ = value_ + most_depth * most_padded;
        logits_ = result_ + most_depth * most_padded;
        regions_ = reinterpret_cast<int32_t*>(logits_ + 2 * LANES * most_padded);
    }

    static int64_t floats(int64_t most_padded, int64_t most_depth) {
        return most_padded * (4 * most_depth + 2 * LANES + 1);
    }

    void attend(const Group& group, const Window& window) {
        const bool bordering = window.top + group.side == maps_.height || window.left + group.side == maps_.width;
        const bool masks = maps_.masked && group.shift && bordering;
        if (masks) mark_regions(group, window);
        for (int64_t head = 0; head < group.heads; ++head) {
            const int64_t channel = group.first + head * group.depth;
            gather(group, window, maps_.query, channel, query_);
            const int64_t size = group.depth * group.padded();
            if (maps_.key == maps_.query) {
                memcpy(key_, query_, size * sizeof(float));
            } else {
                gather(group, window, maps_.key, channel, key_);
            }
            for (int64_t at = 0; at < size; at += LANES) store(query_ + at, load(query_ + at) * (maps_.scale * LOG2_E));
            gather(group, window, maps_.value, channel, value_);
            const float* bias = group.bias ? group.bias + head * group.bias_size() : nullptr;
            int64_t at = 0;
            for (; at + 2 * LANES <= group.padded(); at += 2 * LANES) mix<2>(group, bias, masks, at);
            for (; at < group.padded(); at += LANES) mix<1>(group, bias, masks, at);
            scatter(group, window, channel);
        }
    }

   private:
    // (depth, padded) of a window, zeros after the last token.
    void gather(const Group& group, const Window& window, const Map& map, int64_t channel, float* to) {
        const int64_t padded = group.padded(), surplus = padded - group.tokens();
        for (int64_t c = 0; surplus && c < group.depth; ++c)
            memset(to + c * padded + group.tokens(), 0, surplus * sizeof(float));
        const float* start = map.at(window.image, channel);
        for_each_run(maps_, group, window, [&](int64_t token, int64_t row, int64_t column, int64_t count) {
            const float* from = start + row * map.row + column * map.pixel;
            if (map.pixel == 1) {
                for (int64_t c = 0; c < group.depth; ++c)
                    copy_run(to + c * padded + token, from + c * map.channel, count);
            } else {
                for (int64_t p = 0; p < count; ++p)
                    for (int64_t c = 0; c < group.depth; ++c)
                        to[c * padded + token + p] = from[p * map.pixel + c * map.channel];
            }
        });
    }

    void scatter(const Group& group, const Window& window, int64_t channel) {
        const int64_t padded = group.padded();
        const Map& map = maps_.result;
        float* start = map.at(window.image, channel);
        for_each_run(maps_, group, window, [&](int64_t token, int64_t row, int64_t column, int64_t count) {
            float* to = start + row * map.row + column * map.pixel;
            if (map.pixel == 1) {
                for (int64_t c = 0; c < group.depth; ++c)
                    copy_run(to + c * map.channel, result_ + c * padded + token, count);
            } else {
                for (int64_t p = 0; p < count; ++p)
                    for (int64_t c = 0; c < group.depth; ++c)
                        to[p * map.pixel + c * map.channel] = result_[c * padded + token + p];
            }
        });
    }

    // Rows and columns of a shifted map come from three regions; tokens of different ones are foreign to each other.
    void mark_regions(const Group& group, const Window& window) {
        const auto region = [&](int64_t position, int64_t length) {
            return int32_t(position >= length - group.side) + int32_t(position >= length - group.shift);
        };
        for (int64_t y = 0; y < group.side; ++y)
            for (int64_t x = 0; x < group.side; ++x)
                regions_[y * group.side + x] =
                    3 * region(window.top + y, maps_.height) + region(window.left + x, maps_.width);
    }

    // Attention of N vectors of queries, from token `at` on.
    template <int N>
    void mix(const Group& group, const float* bias, bool masks, int64_t at) {
        Vector most[N], sum[N];
        multiply<N>(group, bias, at, most);
        if (masks) {
            add_mask<N>(group, at);
            find_maxima<N>(group, most);
        }
        exponentiate<N>(group, most, sum);
        for (int n = 0; n < N; ++n) sum[n] = 1.0f / sum[n];
        const int64_t parts = (group.depth + TALL_TILE - 1) / TALL_TILE;
        for (int64_t part = 0; part < parts; ++part) {
            const int64_t first = group.depth * part / parts, last = group.depth * (part + 1) / parts;
            average_any<N, TALL_TILE>(last - first, group, first, at, sum);
        }
    }

    // Stores the logits of all keys; `most` are the largest of each query.
    template <int N>
    INLINE void multiply(const Group& group, const float* bias, int64_t at, Vector (&most)[N]) {
        const int64_t padded = group.padded();
        for (int n = 0; n < N; ++n) most[n] = spread(LOWEST);
        for (int64_t j = 0; j < group.tokens(); j += KEYS) {
            Vector tile[KEYS][N];
            start_from_bias(tile, group, bias, j, at);
            multiply_add(tile, key_ + j, padded, 1, group.depth, [&](int64_t c) { return query_ + c * padded + at; });
            for (int m = 0; m < KEYS; ++m)
                for (int n = 0; n < N; ++n) store(logits_ + ((j + m) * N + n) * LANES, tile[m][n]);
            const int64_t keys = group.tokens() - j < KEYS ? group.tokens() - j : KEYS;
            for (int m = 0; m < KEYS; ++m)
                for (int n = 0; n < N; ++n)
                    if (m < keys) most[n] = larger(tile[m][n], most[n]);
        }
    }

    // Logits of KEYS keys from j on and N vectors of queries from `at` on, before the products.
    template <int N>
    INLINE void start_from_bias(Vector (&tile)[KEYS][N], const Group& group, const float* bias, int64_t j, int64_t at) {
        const int64_t side = group.side, distances = 2 * side - 1;
        for (int n = 0; n < N; ++n) {
            const int64_t i = at + n * LANES;
            const float* start = bias;
            int64_t step = 0;
            if (bias && group.by_distance) {  // KEYS divides LANES, so that all keys of a tile lie in one row
                start += (i / side - j / side + side - 1) * distances + i % side - j % side + side - 1;
                step = -1;
            } else if (bias) {
                start += j * group.padded() + i;
                step = group.padded();
            }
            for (int m = 0; m < KEYS; ++m) tile[m][n] = bias ? load(start + m * step) : Vector{};
        }
    }

    template <int N>
    void add_mask(const Group& group, int64_t at) {
        for (int64_t j = 0; j < group.tokens(); ++j)
            for (int64_t i = 0; i < N * LANES && at + i < group.tokens(); ++i)
                if (regions_[j] != regions_[at + i]) logits_[j * N * LANES + i] += FOREIGN;
    }

    template <int N>
    INLINE void find_maxima(const Group& group, Vector (&most)[N]) {
        for (int n = 0; n < N; ++n) most[n] = load(logits_ + n * LANES);
        for (int64_t j = 1; j < group.tokens(); ++j)
            for (int n = 0; n < N; ++n) most[n] = larger(load(logits_ + (j * N + n) * LANES), most[n]);
    }

    template <int N>
    INLINE void exponentiate(const Group& group, const Vector (&most)[N], Vector (&sum)[N]) {
        for (int n = 0; n < N; ++n) sum[n] = Vector{};
        for (int64_t j = 0; j < group.tokens(); ++j)
            for (int n = 0; n < N; ++n) {
                float* here = logits_ + (j * N + n) * LANES;
                const Vector weight = exp2_of_negative(load(here) - most[n]);
                store(here, weight);
                sum[n] += weight;
            }
    }

    // M channels from `first` on: sums over the keys of weight times value.
    template <int N, int M>
    INLINE void average(const Group& group, int64_t first, int64_t at, const Vector (&factor)[N]) {
        Vector tile[M][N];
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) tile[m][n] = Vector{};
        const int64_t padded = group.padded();
        multiply_add(tile, value_ + first * padded, 1, padded, group.tokens(),
                     [&](int64_t j) { return logits_ + j * N * LANES; });
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) store(result_ + (first + m) * padded + at + n * LANES, tile[m][n] * factor[n]);
    }

    template <int N, int M>
    INLINE void average_any(int64_t rows, const Group& group, int64_t first, int64_t at, const Vector (&factor)[N]) {
        if constexpr (M > 0) {
            if (rows == M) {
                average<N, M>(group, first, at, factor);
            } else {
                average_any<N, M - 1>(rows, group, first, at, factor);
            }
        }
    }

    const Attention& maps_;
    float *query_, *key_, *value_, *result_, *logits_;
    int32_t* regions_;
};

}  // namespace

extern "C" {

int64_t window_attention_scratch(int64_t most_tokens, int64_t most_depth, int64_t threads) {
    return threads * Worker::floats(round_up(most_tokens, LANES), most_depth);
}

// Floats in each row and column of a bias for windows of `tokens` tokens: (keys, queries) padded to whole vectors.
int64_t window_attention_bias_side(int64_t tokens) { return round_up(tokens, LANES); }

// Whether a bias for windows of this side may be given by distance.
int64_t window_attention_takes_distances(int64_t side) { return side % LANES == 0; }

// maps: query, key, value, result; strides: image, channel, row, pixel of each. The result may be the value's memory. For each
// group, groups holds side, shift, first channel, heads, channels of a head; biases its bias or null, by distance or not.
void window_attention(float* const* maps, const int64_t* strides, const int64_t* groups, const float* const* biases,
                      int64_t by_distance, int64_t number_of_groups, float* scratch, int64_t batch, int64_t height, int64_t width, float scale,
                      int64_t masked, int64_t threads) {
    Map all[4];
    for (int64_t n = 0; n < 4; ++n) {
        const int64_t* s = strides + 4 * n;
        all[n] = Map{maps[n], s[0], s[1], s[2], s[3]};
    }
    const Attention attention{all[0], all[1], all[2], all[3], batch, height, width, scale, masked != 0};
    int64_t most_padded = 0, most_depth = 0;
    for (int64_t g = 0; g < number_of_groups; ++g) {
        const int64_t *numbers = groups + 5 * g, padded = round_up(numbers[0] * numbers[0], LANES);
        most_padded = padded > most_padded ? padded : most_padded;
        most_depth = numbers[4] > most_depth ? numbers[4] : most_depth;
    }
#pragma omp parallel num_threads(threads)
    {
        const FlushSubnormals flushed;
        const int64_t own = omp_get_thread_num() * Worker::floats(most_padded, most_depth);
        Worker worker(attention, scratch + own, most_padded, most_depth);
        for (int64_t g = 0; g < number_of_groups; ++g) {
            const int64_t* numbers = groups + 5 * g;
            const Group group{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
                              biases[g],  by_distance != 0};
            const int64_t across = width / group.side, windows = batch * (height / group.side) * across;
            const int64_t together = TASK_TOKENS / group.tokens() > 1 ? TASK_TOKENS / group.tokens() : 1;
#pragma omp for schedule(dynamic, 1) nowait
            for (int64_t task = 0; task < (windows + together - 1) / together; ++task) {
                const int64_t end = (task + 1) * together < windows ? (task + 1) * together : windows;
                for (int64_t number = task * together; number < end; ++number) {
                    const int64_t line = number / across, lines = height / group.side;
                    worker.attend(group, {line / lines, line % lines * group.side, number % across * group.side});
                }
            }
        }
    }
}
}
