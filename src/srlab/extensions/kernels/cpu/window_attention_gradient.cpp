// Gradients of attention inside windows whose queries are their own keys (ELAN), float32.
//
// Rows are queries i, lanes are keys j. With the sums of exponentials kept by the forward pass, a probability needs neither a
// maximum nor a sum: p(i, j) = 2^(logit(i, j) - log_sum(i)). Then, with g the gradient of the result o,
//   ds(i, j) = p(i, j) * (g(i) . v(j) - g(i) . o(i)),  dv(j) = sum_i p(i, j) g(i),  dq(i) = sum_j (ds(i, j) + ds(j, i)) q(j).
#include "windows.h"

#include <omp.h>

namespace {

constexpr int BLOCK = 16;  // queries whose probabilities are kept at a time: whole vectors
constexpr int BLOCK_VECTORS = BLOCK / LANES;
static_assert(BLOCK % LANES == 0 && BLOCK % TILE_ROWS == 4, "a block consists of tiles of 6, 6 and 4 rows");

struct Gradient {
    Map query, value, result, result_gradient, query_gradient, value_gradient;
    MapSize size;
    float scale;
};

class Worker {
   public:
    Worker(const Gradient& maps, float* scratch, int64_t most_tokens, int64_t most_depth) : maps_(maps) {
        const int64_t stride = stride_of(most_tokens);
        float** const parts[] = {&query_, &scaled_, &value_, &gradient_, &query_gradient_, &value_gradient_};
        for (float** part : parts) *part = scratch, scratch += most_depth * stride;
        log_sums_ = scratch;
        inner_ = log_sums_ + stride;
        weights_ = inner_ + stride;
        logits_gradient_ = weights_ + BLOCK * stride;
        transposed_ = logits_gradient_ + BLOCK * stride;
    }

    static int64_t floats(int64_t most_tokens, int64_t most_depth) {
        return (6 * most_depth + 2 + 3 * BLOCK) * stride_of(most_tokens);
    }

    void run(const Group& group, const Window& window) {
        depth_ = group.depth;
        stride_ = stride_of(group.tokens());
        lanes_ = group.padded();
        const int64_t size = depth_ * stride_;
        gather(maps_.size, group, window, maps_.query, group.query, stride_, query_);
        for (int64_t at = 0; at < size; at += LANES) store(scaled_ + at, load(query_ + at) * (maps_.scale * LOG2_E));
        gather(maps_.size, group, window, maps_.result_gradient, group.result, stride_, gradient_);
        gather(maps_.size, group, window, maps_.result, group.result, stride_, value_);
        compare_with_result();
        gather(maps_.size, group, window, maps_.value, group.value, stride_, value_);
        memcpy(log_sums_, group.log_sums + window.number * group.tokens(), group.tokens() * sizeof(float));
        // tokens that fill the last block have gradients of zero; their probabilities must be finite
        for (int64_t i = group.tokens(); i < stride_; ++i) log_sums_[i] = 126.0f;
        memset(query_gradient_, 0, size * sizeof(float));
        memset(value_gradient_, 0, size * sizeof(float));
        for (int64_t first = 0; first < group.tokens(); first += BLOCK) {
            differentiate_rows<TILE_ROWS>(first, 0);
            differentiate_rows<TILE_ROWS>(first, TILE_ROWS);
            differentiate_rows<BLOCK - 2 * TILE_ROWS>(first, 2 * TILE_ROWS);
            transpose_gradient();
            const int64_t parts = (depth_ + TILE_ROWS - 1) / TILE_ROWS;
            for (int64_t part = 0; part < parts; ++part) {
                const int64_t c = depth_ * part / parts;
                add_products<TILE_ROWS>(depth_ * (part + 1) / parts - c, c, first);
            }
        }
        for (int64_t at = 0; at < size; at += LANES) store(query_gradient_ + at, load(query_gradient_ + at) * maps_.scale);
        scatter(maps_.size, group, window, maps_.query_gradient, group.query, stride_, query_gradient_);
        scatter(maps_.size, group, window, maps_.value_gradient, group.value, stride_, value_gradient_);
    }

   private:
    // Whole blocks of tokens, an odd number of them (of lines of the cache): channels of large windows share no set.
    static int64_t stride_of(int64_t tokens) { return (round_up(tokens, BLOCK) / BLOCK | 1) * BLOCK; }

    // g(i) . o(i) of every token.
    void compare_with_result() {
        for (int64_t at = 0; at < stride_; at += LANES) {
            Vector sum{};
            for (int64_t c = 0; c < depth_; ++c) sum += load(gradient_ + c * stride_ + at) * load(value_ + c * stride_ + at);
            store(inner_ + at, sum);
        }
    }

    // Probabilities and gradients of the logits of M queries, from row `row` of the block on, and all keys.
    template <int M>
    void differentiate_rows(int64_t first, int64_t row) {
        int64_t at = 0;
        for (; at + 2 * LANES <= lanes_; at += 2 * LANES) differentiate<M, 2>(first + row, row, at);
        for (; at < lanes_; at += LANES) differentiate<M, 1>(first + row, row, at);
    }

    template <int M, int N>
    INLINE void differentiate(int64_t i, int64_t row, int64_t at) {
        Vector tile[M][N];
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) tile[m][n] = spread(-log_sums_[i + m]);
        multiply_add(tile, scaled_ + i, stride_, 1, depth_, [&](int64_t c) { return query_ + c * stride_ + at; });
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) store(weights_ + (row + m) * stride_ + at + n * LANES, exp2_of_negative(tile[m][n]));
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) tile[m][n] = spread(-inner_[i + m]);
        multiply_add(tile, gradient_ + i, stride_, 1, depth_, [&](int64_t c) { return value_ + c * stride_ + at; });
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) {
                const int64_t here = (row + m) * stride_ + at + n * LANES;
                store(logits_gradient_ + here, tile[m][n] * load(weights_ + here));
            }
    }

    // transposed[j][i] = logits_gradient[i][j]
    void transpose_gradient() {
        for (int64_t at = 0; at < lanes_; at += LANES)
            for (int64_t row = 0; row < BLOCK; row += LANES) {
                Vector square[LANES];
                for (int m = 0; m < LANES; ++m) square[m] = load(logits_gradient_ + (row + m) * stride_ + at);
                transpose(square);
                for (int m = 0; m < LANES; ++m) store(transposed_ + (at + m) * BLOCK + row, square[m]);
            }
    }

    // Adds what the block contributes to the gradients of `count` channels from c on.
    template <int M>
    INLINE void add_products(int64_t count, int64_t c, int64_t first) {
        if constexpr (M > 0) {
            if (count != M) return add_products<M - 1>(count, c, first);
            const int64_t here = c * stride_;
            add_sums<M>(gradient_ + here + first, weights_, value_gradient_ + here);
            add_sums<M>(query_ + here + first, logits_gradient_, query_gradient_ + here);
            float* to = query_gradient_ + here + first;
            Vector tile[M][BLOCK_VECTORS];
            for_each_vector(tile, to, [](Vector& value, float* at) { value = load(at); });
            multiply_add(tile, query_ + here, 1, stride_, lanes_, [&](int64_t j) { return transposed_ + j * BLOCK; });
            for_each_vector(tile, to, [](Vector& value, float* at) { store(at, value); });
        }
    }

    // to[m][j] += sum over the queries of the block: factors[m][i] * rows[i][j].
    template <int M>
    INLINE void add_sums(const float* factors, const float* rows, float* to) {
        int64_t at = 0;
        for (; at + 2 * LANES <= lanes_; at += 2 * LANES) add_sums_at<M, 2>(factors, rows + at, to + at);
        for (; at < lanes_; at += LANES) add_sums_at<M, 1>(factors, rows + at, to + at);
    }

    template <int M, int N>
    INLINE void add_sums_at(const float* factors, const float* rows, float* to) {
        Vector tile[M][N];
        for_each_vector(tile, to, [](Vector& value, float* at) { value = load(at); });
        multiply_add(tile, factors, 1, stride_, BLOCK, [&](int64_t i) { return rows + i * stride_; });
        for_each_vector(tile, to, [](Vector& value, float* at) { store(at, value); });
    }

    template <int M, int N, class Visit>
    INLINE void for_each_vector(Vector (&tile)[M][N], float* start, Visit visit) {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) visit(tile[m][n], start + m * stride_ + n * LANES);
    }

    const Gradient& maps_;
    float *query_, *scaled_, *value_, *gradient_, *query_gradient_, *value_gradient_, *log_sums_, *inner_, *weights_,
        *logits_gradient_, *transposed_;
    int64_t depth_ = 0, stride_ = 0, lanes_ = 0;  // of the window at hand: channels, floats between them, tokens in vectors
};

}  // namespace

extern "C" {

int64_t window_attention_gradient_scratch(int64_t most_tokens, int64_t most_depth, int64_t threads) {
    return threads * Worker::floats(most_tokens, most_depth);
}

// maps: query, value, result, and the gradients of result, query and value, of which the last two are written. strides, groups
// and log_sums as in window_attention; one head in each group.
void window_attention_gradient(float* const* maps, const int64_t* strides, const int64_t* groups, int64_t number_of_groups,
                               float* log_sums, float* scratch, int64_t batch, int64_t height, int64_t width, float scale,
                               int64_t threads) {
    Map all[6];
    for (int64_t n = 0; n < 6; ++n) all[n] = make_map(maps[n], strides + 4 * n);
    const MapSize size{batch, height, width};
    const Gradient gradient{all[0], all[1], all[2], all[3], all[4], all[5], size, scale};
    int64_t most_tokens = 0, most_depth = 0;
    for (int64_t g = 0; g < number_of_groups; ++g) {
        const Group group = make_group(groups + GROUP_NUMBERS * g);
        most_tokens = group.tokens() > most_tokens ? group.tokens() : most_tokens;
        most_depth = group.depth > most_depth ? group.depth : most_depth;
    }
#pragma omp parallel num_threads(threads)
    {
        const FlushSubnormals flushed;
        Worker worker(gradient, scratch + omp_get_thread_num() * Worker::floats(most_tokens, most_depth), most_tokens, most_depth);
        for (int64_t g = 0; g < number_of_groups; ++g) {
            Group group = make_group(groups + GROUP_NUMBERS * g);
            group.log_sums = log_sums + g * batch * height * width;
            for_each_window(size, group, [&](const Window& window) { worker.run(group, window); });
        }
    }
}
}
