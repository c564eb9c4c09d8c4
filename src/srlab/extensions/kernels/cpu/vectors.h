// Vectors of the machine's width by GCC's and Clang's vector extensions, and the one inner loop of all kernels.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int TILE_VECTORS = 4;  // a tile of 6 x 4 accumulators leaves 8 of 32 registers
constexpr int TALL_TILE = 10;    // rows of the tiles that are two vectors wide
#else
constexpr int LANES = 8;
constexpr int TILE_VECTORS = 2;  // 6 x 2 accumulators of 16 registers
constexpr int TALL_TILE = 6;
#endif
constexpr int TILE_ROWS = 6;

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef int32_t Integers __attribute__((vector_size(LANES * 4)));
typedef float Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE inline __attribute__((always_inline))

static INLINE Vector load(const float* at) { return *reinterpret_cast<const Unaligned*>(at); }
static INLINE void store(float* at, Vector value) { *reinterpret_cast<Unaligned*>(at) = value; }
static INLINE Vector spread(float value) { return Vector{} + value; }
// NaN in the second stays NaN, so that it reaches the result.
static INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// 2^x for x <= 0, to 3e-7 of its value; below 2^-126 it is 2^-126 or less. NaN stays NaN, whatever its payload.
static INLINE Vector exp2_of_negative(Vector x) {
#if defined(__AVX512F__)
    // of two operands, one of them NaN, the instruction returns the second
    x = reinterpret_cast<Vector>(_mm512_max_ps(_mm512_set1_ps(-200.0f), reinterpret_cast<__m512>(x)));
    const Vector rounded = reinterpret_cast<Vector>(_mm512_roundscale_ps(reinterpret_cast<__m512>(x), 0));
#else
    const Vector lowest = spread(-126.0f), magic = spread(12582912.0f);  // 1.5 * 2^23: adding it rounds
    x = x < lowest ? lowest : x;
    const Vector shifted = x + magic, rounded = shifted - magic;
#endif
    const Vector f = x - rounded;
    // the polynomial of degree 5 with the least relative error, 7.5e-8, between -1/2 and 1/2
    Vector y = spread(1.32764725e-3f);
    y = y * f + 9.67554096e-3f;
    y = y * f + 5.55071309e-2f;
    y = y * f + 2.40221202e-1f;
    y = y * f + 6.93146944e-1f;
    y = y * f + 1.00000012f;
#if defined(__AVX512F__)
    return reinterpret_cast<Vector>(_mm512_scalef_ps(reinterpret_cast<__m512>(y), reinterpret_cast<__m512>(rounded)));
#else
    const Integers bits = reinterpret_cast<Integers>(y) + (reinterpret_cast<Integers>(shifted) << 23);
    return x == x ? reinterpret_cast<Vector>(bits) : x;
#endif
}

// During its lifetime, its thread flushes subnormal numbers to zero, as operands and as results.
// Processors compute with subnormals in microcode: 100 cycles and more for each on Intel's servers.
class FlushSubnormals {
   public:
    FlushSubnormals() : found_(mode()) { set_mode(found_ | FLUSH); }
    ~FlushSubnormals() { set_mode(found_); }
    FlushSubnormals(const FlushSubnormals&) = delete;
    FlushSubnormals& operator=(const FlushSubnormals&) = delete;

   private:
#if defined(__SSE2__)
    typedef unsigned int Mode;
    static constexpr Mode FLUSH = 0x8040;  // MXCSR: flush to zero, denormals are zero
    static Mode mode() { return _mm_getcsr(); }
    static void set_mode(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
    typedef uint64_t Mode;
    static constexpr Mode FLUSH = uint64_t(1) << 24;  // FPCR: FZ, for operands and results
    static Mode mode() {
        Mode mode;
        __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
        return mode;
    }
    static void set_mode(Mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
    typedef int Mode;
    static constexpr Mode FLUSH = 0;
    static Mode mode() { return 0; }
    static void set_mode(Mode) {}
#endif
    const Mode found_;
};

// tile[m][n] += sum over k of weights[k * step + m * pitch] * rows(k)[n * LANES ...]; rows(k) is the address of row k.
template <int M, int N, class Rows>
static INLINE void multiply_add(Vector (&tile)[M][N], const float* weights, int64_t step, int64_t pitch, int64_t depth,
                                Rows rows) {
    for (int64_t k = 0; k < depth; ++k) {
        const float* row = rows(k);
        Vector x[N];
        for (int n = 0; n < N; ++n) x[n] = load(row + n * LANES);
        const float* w = weights + k * step;
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) tile[m][n] += x[n] * w[m * pitch];
    }
}

typedef float Four __attribute__((vector_size(16)));

static INLINE float sum_of(Vector x) {
    Four part[LANES / 4], sum{};
    memcpy(part, &x, sizeof(x));
    for (int n = 0; n < LANES / 4; ++n) sum += part[n];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// tile[m][n] = vectors of partial sums over k < length of left[m * stride + k] * right[n * stride + k], in whole vectors.
template <int M, int N>
static INLINE void dot_products(Vector (&tile)[M][N], const float* left, const float* right, int64_t stride, int64_t length) {
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) tile[m][n] = Vector{};
    for (int64_t k = 0; k < length; k += LANES) {
        Vector x[N];
        for (int n = 0; n < N; ++n) x[n] = load(right + n * stride + k);
        for (int m = 0; m < M; ++m) {
            const Vector y = load(left + m * stride + k);
            for (int n = 0; n < N; ++n) tile[m][n] += y * x[n];
        }
    }
}

// Transposes a square of numbers.
static INLINE void transpose(Vector (&rows)[LANES]) {
#if defined(__AVX__) && !defined(__AVX512F__)
    __m256 a[8], b[8];
    for (int n = 0; n < 8; ++n) a[n] = reinterpret_cast<__m256>(rows[n]);
    for (int n = 0; n < 8; n += 2) {
        b[n] = _mm256_unpacklo_ps(a[n], a[n + 1]);
        b[n + 1] = _mm256_unpackhi_ps(a[n], a[n + 1]);
    }
    for (int n = 0; n < 8; n += 4)
        for (int m = 0; m < 2; ++m) {
            a[n + 2 * m] = _mm256_shuffle_ps(b[n + m], b[n + m + 2], 0x44);
            a[n + 2 * m + 1] = _mm256_shuffle_ps(b[n + m], b[n + m + 2], 0xee);
        }
    for (int n = 0; n < 4; ++n) {
        rows[n] = reinterpret_cast<Vector>(_mm256_permute2f128_ps(a[n], a[n + 4], 0x20));
        rows[n + 4] = reinterpret_cast<Vector>(_mm256_permute2f128_ps(a[n], a[n + 4], 0x31));
    }
#elif defined(__clang__)
    float numbers[LANES][LANES];
    for (int n = 0; n < LANES; ++n) store(numbers[n], rows[n]);
    for (int n = 0; n < LANES; ++n)
        for (int lane = 0; lane < LANES; ++lane) rows[n][lane] = numbers[lane][n];
#else
    // log2(LANES) perfect shuffles
    Integers low, high;
    for (int lane = 0; lane < LANES; ++lane) {
        low[lane] = lane / 2 + lane % 2 * LANES;
        high[lane] = low[lane] + LANES / 2;
    }
    for (int stage = 1; stage < LANES; stage *= 2) {
        Vector mixed[LANES];
        for (int n = 0; n < LANES / 2; ++n) {
            mixed[2 * n] = __builtin_shuffle(rows[n], rows[n + LANES / 2], low);
            mixed[2 * n + 1] = __builtin_shuffle(rows[n], rows[n + LANES / 2], high);
        }
        for (int n = 0; n < LANES; ++n) rows[n] = mixed[n];
    }
#endif
}
