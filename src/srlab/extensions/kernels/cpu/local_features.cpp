// One step of ELAN between two attentions, row by row, in place: add the attended features, extract local features by two
// shift-convolutions, project to what the next attention reads. Maps are (B, C, H, W), contiguous, float32.
//
// Every thread walks down a strip of rows with rings of three rows: a row of hidden channels needs its input rows above and
// below, a row of the result needs its hidden rows. What strips need of each other's rows is computed before any is replaced.
#include "convolution.h"

#include <omp.h>

namespace {

constexpr int HALO = 2;  // rows of input that a row of the result sees above and below

struct Sizes {
    int64_t batch, dim, hidden, projected, height, width;
    int64_t row() const { return round_up(width, LANES) + 2 * LANES; }  // zeros on both sides
};

struct Step {
    Sizes sizes;
    float *features, *query, *value;  // query: null where a block reuses it
    const float* attended;            // null before the first attention; otherwise the memory of value
    Convolution mix, expand, contract, project;
};

// One thread's memory: rings and rows, each channel `row` floats apart, the first pixel LANES after the start.
class Strip {
   public:
    Strip(const Step& step, int64_t image, int64_t first, int64_t last, float* halo, float* scratch)
        : step_(step), sizes_(step.sizes), image_(image), first_(first), last_(last), row_(sizes_.row()), halo_(halo) {
        const int64_t dim = sizes_.dim, hidden = sizes_.hidden;
        input_ = scratch;
        hidden_ = input_ + 3 * dim * row_;
        local_ = hidden_ + 3 * hidden * row_;
        rows_ = reinterpret_cast<const float**>(local_ + dim * row_);
    }

    static int64_t floats(const Sizes& sizes) {
        const int64_t pointers = 2 * (sizes.hidden > sizes.dim ? sizes.hidden : sizes.dim);
        return (4 * sizes.dim + 3 * sizes.hidden) * sizes.row() + round_up(pointers, LANES);
    }
    static int64_t halo_floats(const Sizes& sizes) { return 2 * HALO * sizes.dim * sizes.row(); }

    // The rows of other strips that this one sees.
    void keep_halo() {
        for (int64_t slot = 0; slot < 2 * HALO; ++slot) read_input(halo_row(slot), halo_ + slot * sizes_.dim * row_);
    }

    void run() {
        memset(input_, 0, floats(sizes_) * sizeof(float));
        for (int64_t y = first_ - HALO; y <= first_; ++y) load_input(y);
        make_hidden(first_ - 1);
        load_input(first_ + 1);
        make_hidden(first_);
        for (int64_t y = first_; y < last_; ++y) {
            load_input(y + HALO);
            make_hidden(y + 1);
            make_result(y);
        }
    }

   private:
    int64_t halo_row(int64_t slot) const { return slot < HALO ? first_ - HALO + slot : last_ + slot - HALO; }
    bool inside(int64_t y) const { return y >= 0 && y < sizes_.height; }
    float* input(int64_t y) { return input_ + ((y + 3) % 3) * sizes_.dim * row_; }
    float* hidden(int64_t y) { return hidden_ + ((y + 3) % 3) * sizes_.hidden * row_; }
    int64_t offset(int64_t channel, int64_t y) const {
        return ((image_ * sizes_.dim + channel) * sizes_.height + y) * sizes_.width;
    }
    void clear_beyond(float* start, int64_t channels) const {
        const int64_t rest = round_up(sizes_.width, LANES) - sizes_.width;
        for (int64_t c = 0; rest && c < channels; ++c) memset(start + c * row_ + LANES + sizes_.width, 0, rest * sizeof(float));
    }

    void load_input(int64_t y) {
        float* to = input(y);
        const int64_t size = sizes_.dim * row_;
        if (y < first_ && y >= first_ - HALO) {
            memcpy(to, halo_ + (y - first_ + HALO) * size, size * sizeof(float));
        } else if (y >= last_ && y < last_ + HALO) {
            memcpy(to, halo_ + (y - last_ + HALO) * size, size * sizeof(float));
        } else {
            read_input(y, to);
        }
    }

    // features + mix(attended), zeros outside the image.
    void read_input(int64_t y, float* to) {
        if (!inside(y)) {
            memset(to, 0, sizes_.dim * row_ * sizeof(float));
            return;
        }
        const int64_t width = sizes_.width;
        for (int64_t c = 0; c < sizes_.dim; ++c) {
            float* channel = to + c * row_;
            memset(channel, 0, LANES * sizeof(float));
            memcpy(channel + LANES, step_.features + offset(c, y), width * sizeof(float));
            memset(channel + LANES + width, 0, (row_ - LANES - width) * sizeof(float));
        }
        if (!step_.attended) return;
        float* copies = local_;  // free until this row's result
        for (int64_t c = 0; c < sizes_.dim; ++c) {
            memcpy(copies + c * row_, step_.attended + offset(c, y), width * sizeof(float));
            rows_[c] = copies + c * row_;
        }
        convolve_row(rows_, sizes_.dim, sizes_.dim, step_.mix, width, [&](int64_t n, int64_t at, Vector mixed) {
            float* here = to + n * row_ + LANES + at;
            store(here, load(here) + mixed);
        });
        clear_beyond(to, sizes_.dim);
    }

    // Fifths of the channels read their right, left, lower, upper neighbour, the rest its own pixel.
    void point_to_neighbours(float* above, float* here, float* below, int64_t channels) {
        const int64_t group = channels / 5;
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t at = c * row_ + LANES;
            rows_[c] = c < group       ? here + at + 1
                       : c < 2 * group ? here + at - 1
                       : c < 3 * group ? below + at
                       : c < 4 * group ? above + at
                                       : here + at;
        }
    }

    void make_hidden(int64_t y) {
        float* to = hidden(y);
        if (!inside(y)) {
            memset(to, 0, sizes_.hidden * row_ * sizeof(float));
            return;
        }
        point_to_neighbours(input(y - 1), input(y), input(y + 1), sizes_.dim);
        convolve_row(rows_, sizes_.dim, sizes_.hidden, step_.expand, sizes_.width, [&](int64_t n, int64_t at, Vector value) {
            store(to + n * row_ + LANES + at, value < 0.0f ? Vector{} : value);
        });
        clear_beyond(to, sizes_.hidden);
    }

    void make_result(int64_t y) {
        const float* kept = input(y);
        point_to_neighbours(hidden(y - 1), hidden(y), hidden(y + 1), sizes_.hidden);
        convolve_row(rows_, sizes_.hidden, sizes_.dim, step_.contract, sizes_.width, [&](int64_t n, int64_t at, Vector value) {
            store(local_ + n * row_ + at, value + load(kept + n * row_ + LANES + at));
        });
        for (int64_t c = 0; c < sizes_.dim; ++c) {
            rows_[c] = local_ + c * row_;
            memcpy(step_.features + offset(c, y), local_ + c * row_, sizes_.width * sizeof(float));
        }
        const int64_t queries = step_.query ? sizes_.dim : 0;
        convolve_row(rows_, sizes_.dim, sizes_.projected, step_.project, sizes_.width,
                     [&](int64_t n, int64_t at, Vector value) {
                         float* plane = n < queries ? step_.query + offset(n, y) : step_.value + offset(n - queries, y);
                         if (at + LANES <= sizes_.width) {
                             store(plane + at, value);
                         } else {
                             memcpy(plane + at, &value, (sizes_.width - at) * sizeof(float));
                         }
                     });
    }

    const Step& step_;
    const Sizes& sizes_;
    int64_t image_, first_, last_, row_;
    float *halo_, *input_, *hidden_, *local_;
    const float** rows_;
};

int64_t strips_of(const Sizes& sizes, int64_t threads) {
    const int64_t wanted = (threads + sizes.batch - 1) / sizes.batch, most = sizes.height / (2 * HALO);
    return wanted < most ? wanted : most > 1 ? most : 1;
}

}  // namespace

extern "C" {

// Floats of scratch memory that `local_features` needs with `threads` threads.
int64_t local_features_scratch(int64_t batch, int64_t dim, int64_t hidden, int64_t height, int64_t width, int64_t threads) {
    const Sizes sizes{batch, dim, hidden, 0, height, width};
    return threads * Strip::floats(sizes) + batch * strips_of(sizes, threads) * Strip::halo_floats(sizes);
}

int64_t packed_rows() { return TILE_ROWS; }

// weights: the packed convolutions mix, expand, contract, project, one after another. `query` is null where it is reused;
// `attended` is null before the first attention, and may be `value`, which is replaced.
void local_features(float* features, float* query, float* value, const float* attended, const float* weights, float* scratch,
                    int64_t batch, int64_t dim, int64_t hidden, int64_t height, int64_t width, int64_t threads) {
    const int64_t projected = query ? 2 * dim : dim;
    const auto next = [&](int64_t inputs, int64_t outputs) {
        const float* here = weights;
        weights += packed_floats(inputs, outputs);
        return packed(here, inputs, outputs);
    };
    const Convolution mix = next(dim, dim), expand = next(dim, hidden), contract = next(hidden, dim);
    const Step step{{batch, dim, hidden, projected, height, width}, features, query,  value,
                    attended,                                       mix,      expand, contract, next(dim, projected)};
    const int64_t strips = strips_of(step.sizes, threads), tasks = batch * strips;
    float* halos = scratch + threads * Strip::floats(step.sizes);
#pragma omp parallel num_threads(threads)
    {
        const FlushSubnormals flushed;
        float* own = scratch + omp_get_thread_num() * Strip::floats(step.sizes);
        const auto strip = [&](int64_t task) {
            const int64_t number = task % strips;
            return Strip(step, task / strips, height * number / strips, height * (number + 1) / strips,
                         halos + task * Strip::halo_floats(step.sizes), own);
        };
#pragma omp for schedule(static)
        for (int64_t task = 0; task < tasks; ++task) strip(task).keep_halo();
#pragma omp for schedule(static)
        for (int64_t task = 0; task < tasks; ++task) strip(task).run();
    }
}
}
