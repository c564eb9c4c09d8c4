// Shift-convolution with its gradients, for training: fifths of the channels read a neighbouring pixel, then a 1x1 convolution,
// and perhaps a ReLU. Maps are (B, C, H, W), contiguous, float32. Without the shift it is a plain 1x1 convolution.
//
// A task is a strip of whole rows of one image: its shifted pixels are gathered once, and serve as rows of a matrix.
#include "convolution.h"

#include <omp.h>

namespace {

constexpr int64_t STRIP_PIXELS = 512;
constexpr int DOT_ROWS = 4, DOT_COLUMNS = 3;

struct Shape {
    int64_t batch, inputs, outputs, height, width;
    bool shifts, rectifies;
    int64_t rows() const { return STRIP_PIXELS > width ? STRIP_PIXELS / width : 1; }  // of a strip
    int64_t strips() const { return (height + rows() - 1) / rows(); }                 // of an image
    // From channel to channel of a gathered strip: an odd number of lines of the cache, so that channels share no set.
    int64_t stride() const { return round_up(rows() * width, 32) + 16; }
    int64_t input_rows() const { return round_up(inputs + 1, DOT_COLUMNS); }
    int64_t output_rows() const { return round_up(outputs, DOT_ROWS); }
};

struct Strip {
    int64_t image, top, rows;
};

struct Offset {
    int64_t row, column;
};

// The pixel that input channel k reads, relative to the result's.
INLINE Offset offset_of(const Shape& shape, int64_t k) {
    const int64_t fifth = shape.inputs / 5;
    if (!shape.shifts || k >= 4 * fifth) return {0, 0};
    return k < fifth ? Offset{0, 1} : k < 2 * fifth ? Offset{0, -1} : k < 3 * fifth ? Offset{1, 0} : Offset{-1, 0};
}

INLINE int64_t plane(const Shape& shape, int64_t channels, int64_t image, int64_t channel) {
    return (image * channels + channel) * shape.height * shape.width;
}

// (inputs, stride): zeros where a pixel lies outside the map.
void gather_shifted(const Shape& shape, const Strip& strip, const float* map, float* to) {
    const int64_t width = shape.width, stride = shape.stride();
    for (int64_t k = 0; k < shape.inputs; ++k) {
        const Offset offset = offset_of(shape, k);
        const float* from = map + plane(shape, shape.inputs, strip.image, k);
        float* row = to + k * stride;
        for (int64_t y = strip.top; y < strip.top + strip.rows; ++y, row += width) {
            const int64_t source = y + offset.row;
            if (source < 0 || source >= shape.height) {
                memset(row, 0, width * sizeof(float));
            } else if (offset.column == 0) {
                memcpy(row, from + source * width, width * sizeof(float));
            } else if (offset.column > 0) {
                memcpy(row, from + source * width + 1, (width - 1) * sizeof(float));
                row[width - 1] = 0.0f;
            } else {
                memcpy(row + 1, from + source * width, (width - 1) * sizeof(float));
                row[0] = 0.0f;
            }
        }
    }
}

// The transpose of gather_shifted: each row of a channel of the map has one source, at most, in one strip.
void scatter_shifted(const Shape& shape, const Strip& strip, const float* from, float* map) {
    const int64_t width = shape.width, stride = shape.stride();
    for (int64_t k = 0; k < shape.inputs; ++k) {
        const Offset offset = offset_of(shape, k);
        float* to = map + plane(shape, shape.inputs, strip.image, k);
        const float* row = from + k * stride;
        // the first or last row of a map that no result reads
        if (offset.row > 0 && strip.top == 0) memset(to, 0, width * sizeof(float));
        if (offset.row < 0 && strip.top + strip.rows == shape.height)
            memset(to + (shape.height - 1) * width, 0, width * sizeof(float));
        for (int64_t y = strip.top; y < strip.top + strip.rows; ++y, row += width) {
            const int64_t target = y + offset.row;
            if (target < 0 || target >= shape.height) continue;
            float* here = to + target * width;
            if (offset.column == 0) {
                memcpy(here, row, width * sizeof(float));
            } else if (offset.column > 0) {
                here[0] = 0.0f;
                memcpy(here + 1, row, (width - 1) * sizeof(float));
            } else {
                here[width - 1] = 0.0f;
                memcpy(here, row + 1, (width - 1) * sizeof(float));
            }
        }
    }
}

// (outputs, stride): the gradient of the result, zero where the ReLU was, and in the rest of the last vector.
void gather_gradient(const Shape& shape, const Strip& strip, const float* gradient, const float* result, float* to) {
    const int64_t pixels = strip.rows * shape.width, stride = shape.stride();
    for (int64_t n = 0; n < shape.outputs; ++n) {
        const int64_t start = plane(shape, shape.outputs, strip.image, n) + strip.top * shape.width;
        float* row = to + n * stride;
        if (shape.rectifies) {
            for (int64_t p = 0; p < pixels; ++p) row[p] = result[start + p] > 0.0f ? gradient[start + p] : 0.0f;
        } else {
            memcpy(row, gradient + start, pixels * sizeof(float));
        }
        memset(row + pixels, 0, (round_up(pixels, LANES) - pixels) * sizeof(float));
    }
}

// totals (outputs, inputs + 1) += gradient (outputs, pixels) x shifted (inputs + 1, pixels) transposed; the last row is ones.
void add_weight_gradient(const Shape& shape, int64_t pixels, const float* gradient, const float* shifted, float* totals) {
    const int64_t stride = shape.stride(), columns = shape.inputs + 1;
    for (int64_t n = 0; n < shape.outputs; n += DOT_ROWS)
        for (int64_t k = 0; k < columns; k += DOT_COLUMNS) {
            Vector tile[DOT_ROWS][DOT_COLUMNS];
            dot_products(tile, gradient + n * stride, shifted + k * stride, stride, pixels);
            for (int m = 0; m < DOT_ROWS && n + m < shape.outputs; ++m)
                for (int j = 0; j < DOT_COLUMNS && k + j < columns; ++j)
                    totals[(n + m) * columns + k + j] += sum_of(tile[m][j]);
        }
}

// Calls visit(strip) for each strip; the threads of a parallel region share them, always in the same way.
template <class Visit>
INLINE void for_each_strip(const Shape& shape, Visit visit) {
    const int64_t strips = shape.strips();
#pragma omp for schedule(static)
    for (int64_t task = 0; task < shape.batch * strips; ++task) {
        const int64_t top = task % strips * shape.rows(), rest = shape.height - top;
        visit(Strip{task / strips, top, rest < shape.rows() ? rest : shape.rows()});
    }
}

INLINE void point_to(const float** rows, const float* start, int64_t count, int64_t stride) {
    for (int64_t k = 0; k < count; ++k) rows[k] = start + k * stride;
}

int64_t pointer_floats(const Shape& shape) {
    return round_up(2 * (shape.inputs > shape.outputs ? shape.inputs : shape.outputs), LANES);
}

int64_t forward_floats(const Shape& shape) { return pointer_floats(shape) + shape.inputs * shape.stride(); }

int64_t backward_floats(const Shape& shape) {
    return pointer_floats(shape) + (shape.input_rows() + shape.output_rows()) * shape.stride() +
           round_up(shape.outputs * (shape.inputs + 1), LANES);
}

// weight(n, k) of output n and input k and bias(n) as the inner loop reads them.
template <class Weight, class Bias>
Convolution pack(int64_t inputs, int64_t outputs, float* to, Weight weight, Bias bias) {
    const Convolution convolution = packed(to, inputs, outputs);
    const int64_t padded = round_up(outputs, TILE_ROWS);
    for (int64_t n = 0; n < padded; ++n) {
        for (int64_t k = 0; k < inputs; ++k)
            to[(n / TILE_ROWS * inputs + k) * TILE_ROWS + n % TILE_ROWS] = n < outputs ? weight(n, k) : 0.0f;
        to[padded * inputs + n] = n < outputs ? bias(n) : 0.0f;
    }
    return convolution;
}

}  // namespace

extern "C" {

int64_t shift_convolution_scratch(int64_t batch, int64_t inputs, int64_t outputs, int64_t height, int64_t width,
                                  int64_t threads) {
    const int64_t forward = packed_floats(inputs, outputs), backward = packed_floats(outputs, inputs);
    return (forward > backward ? forward : backward) + threads * backward_floats({batch, inputs, outputs, height, width, false, false});
}

// weight: (outputs, inputs); bias: (outputs).
void shift_convolution(const float* map, const float* weight, const float* bias, float* result, float* scratch, int64_t batch,
                       int64_t inputs, int64_t outputs, int64_t height, int64_t width, int64_t shifts, int64_t rectifies,
                       int64_t threads) {
    const Shape shape{batch, inputs, outputs, height, width, shifts != 0, rectifies != 0};
    const Convolution convolution = pack(
        inputs, outputs, scratch, [&](int64_t n, int64_t k) { return weight[n * inputs + k]; },
        [&](int64_t n) { return bias[n]; });
    scratch += packed_floats(inputs, outputs);
#pragma omp parallel num_threads(threads)
    {
        const FlushSubnormals flushed;
        float* own = scratch + omp_get_thread_num() * forward_floats(shape);
        const float** rows = reinterpret_cast<const float**>(own);
        float* shifted = own + pointer_floats(shape);
        memset(shifted, 0, shape.inputs * shape.stride() * sizeof(float));
        point_to(rows, shifted, inputs, shape.stride());
        for_each_strip(shape, [&](const Strip& strip) {
            const int64_t pixels = strip.rows * width;
            gather_shifted(shape, strip, map, shifted);
            convolve_row(rows, inputs, outputs, convolution, pixels, [&](int64_t n, int64_t at, Vector value) {
                if (shape.rectifies) value = value < 0.0f ? Vector{} : value;
                float* here = result + plane(shape, outputs, strip.image, n) + strip.top * width + at;
                if (at + LANES <= pixels) {
                    store(here, value);
                } else {
                    memcpy(here, &value, (pixels - at) * sizeof(float));
                }
            });
        });
    }
}

// totals: (threads, outputs, inputs + 1) of zeros, to which partial sums of the gradients of the weights are added, the biases'
// in the last column. map_gradient may be null.
void shift_convolution_gradient(const float* map, const float* weight, const float* result, const float* gradient,
                                float* map_gradient, float* totals, float* scratch, int64_t batch, int64_t inputs,
                                int64_t outputs, int64_t height, int64_t width, int64_t shifts, int64_t rectifies,
                                int64_t threads) {
    const Shape shape{batch, inputs, outputs, height, width, shifts != 0, rectifies != 0};
    const Convolution convolution = pack(
        outputs, inputs, scratch, [&](int64_t k, int64_t n) { return weight[n * inputs + k]; }, [](int64_t) { return 0.0f; });
    scratch += packed_floats(outputs, inputs);
#pragma omp parallel num_threads(threads)
    {
        const FlushSubnormals flushed;
        const int64_t stride = shape.stride();
        float* own = scratch + omp_get_thread_num() * backward_floats(shape);
        const float** rows = reinterpret_cast<const float**>(own);
        float* shifted = own + pointer_floats(shape);
        float* incoming = shifted + shape.input_rows() * stride;
        float* sums = totals + omp_get_thread_num() * outputs * (inputs + 1);
        memset(shifted, 0, (shape.input_rows() + shape.output_rows()) * stride * sizeof(float));
        for (int64_t p = 0; p < stride; ++p) shifted[inputs * stride + p] = 1.0f;
        point_to(rows, incoming, outputs, stride);
        for_each_strip(shape, [&](const Strip& strip) {
            const int64_t pixels = strip.rows * width;
            gather_gradient(shape, strip, gradient, result, incoming);
            gather_shifted(shape, strip, map, shifted);
            add_weight_gradient(shape, pixels, incoming, shifted, sums);
            if (!map_gradient) return;
            convolve_row(rows, outputs, inputs, convolution, pixels, [&](int64_t k, int64_t at, Vector value) {
                store(shifted + k * stride + at, value);
            });
            scatter_shifted(shape, strip, shifted, map_gradient);
        });
    }
}
}
