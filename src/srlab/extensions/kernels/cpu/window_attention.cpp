// Attention inside windows of float32 maps: no rolled, rearranged or stored map; the cyclic shift is index arithmetic.
//
// A window's tokens lie along the vectors' lanes: logits(j, i) of key j and a vector of queries i. Maxima and sums over the
// keys are then sums of vectors, and both products are the same inner loop over rows that stay in the first-level cache.
#include "windows.h"

#include <omp.h>

#include <cmath>
#include <limits>

namespace {

constexpr int KEYS = LANES / 2;         // keys of one tile of logits
constexpr float FOREIGN = -100.0f * LOG2_E;
constexpr float LOWEST = -std::numeric_limits<float>::infinity();

struct Attention {
    Map query, key, value, result;
    MapSize size;
    float scale;
    bool masked;
};

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
        const bool bordering = window.top + group.side == maps_.size.height || window.left + group.side == maps_.size.width;
        const bool masks = maps_.masked && group.shift && bordering;
        if (masks) mark_regions(group, window);
        const int64_t padded = group.padded(), size = group.depth * padded;
        for (int64_t head = 0; head < group.heads; ++head) {
            const int64_t channel = head * group.depth;
            gather(maps_.size, group, window, maps_.query, group.query + channel, padded, query_);
            if (maps_.key == maps_.query) {
                memcpy(key_, query_, size * sizeof(float));
            } else {
                gather(maps_.size, group, window, maps_.key, group.query + channel, padded, key_);
            }
            for (int64_t at = 0; at < size; at += LANES) store(query_ + at, load(query_ + at) * (maps_.scale * LOG2_E));
            gather(maps_.size, group, window, maps_.value, group.value + channel, padded, value_);
            const float* bias = group.bias ? group.bias + head * group.bias_size() : nullptr;
            log_sums_ = group.log_sums ? group.log_sums + window.number * group.tokens() : nullptr;
            int64_t at = 0;
            for (; at + 2 * LANES <= padded; at += 2 * LANES) mix<2>(group, bias, masks, at);
            for (; at < padded; at += LANES) mix<1>(group, bias, masks, at);
            scatter(maps_.size, group, window, maps_.result, group.result + channel, padded, result_);
        }
    }

   private:
    // Rows and columns of a shifted map come from three regions; tokens of different ones are foreign to each other.
    void mark_regions(const Group& group, const Window& window) {
        const auto region = [&](int64_t position, int64_t length) {
            return int32_t(position >= length - group.side) + int32_t(position >= length - group.shift);
        };
        for (int64_t y = 0; y < group.side; ++y)
            for (int64_t x = 0; x < group.side; ++x)
                regions_[y * group.side + x] =
                    3 * region(window.top + y, maps_.size.height) + region(window.left + x, maps_.size.width);
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
        if (log_sums_) keep_log_sums<N>(group, most, sum, at);
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

    template <int N>
    void keep_log_sums(const Group& group, const Vector (&most)[N], const Vector (&sum)[N], int64_t at) {
        for (int64_t i = 0; i < N * LANES && at + i < group.tokens(); ++i)
            log_sums_[at + i] = most[i / LANES][i % LANES] + std::log2(sum[i / LANES][i % LANES]);
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
    float* log_sums_ = nullptr;  // of the window at hand
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
// group, groups holds side, shift, first channel of queries and keys, of values, of results, heads, channels of a head; biases
// its bias or null, by distance or not. log_sums is null, or (groups, batch * height * width) for one head in each group.
void window_attention(float* const* maps, const int64_t* strides, const int64_t* groups, const float* const* biases,
                      int64_t by_distance, int64_t number_of_groups, float* log_sums, float* scratch, int64_t batch,
                      int64_t height, int64_t width, float scale, int64_t masked, int64_t threads) {
    Map all[4];
    for (int64_t n = 0; n < 4; ++n) all[n] = make_map(maps[n], strides + 4 * n);
    const MapSize size{batch, height, width};
    const Attention attention{all[0], all[1], all[2], all[3], size, scale, masked != 0};
    int64_t most_padded = 0, most_depth = 0;
    for (int64_t g = 0; g < number_of_groups; ++g) {
        const Group group = make_group(groups + GROUP_NUMBERS * g);
        most_padded = group.padded() > most_padded ? group.padded() : most_padded;
        most_depth = group.depth > most_depth ? group.depth : most_depth;
    }
#pragma omp parallel num_threads(threads)
    {
        const FlushSubnormals flushed;
        const int64_t own = omp_get_thread_num() * Worker::floats(most_padded, most_depth);
        Worker worker(attention, scratch + own, most_padded, most_depth);
        for (int64_t g = 0; g < number_of_groups; ++g) {
            Group group = make_group(groups + GROUP_NUMBERS * g);
            group.bias = biases[g];
            group.by_distance = by_distance != 0;
            if (log_sums) group.log_sums = log_sums + g * batch * height * width;
            for_each_window(size, group, [&](const Window& window) { worker.attend(group, window); });
        }
    }
}
}
