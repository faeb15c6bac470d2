// Matrix products from panels of columns, for what pyrovae.step.panel_products and products_over_rows write out.
#ifndef PYROVAE_PANELS
#define PYROVAE_PANELS
#include <cstring>
#include <memory>

namespace pyrovae_panels {

using Vector = at::vec::Vectorized<float>;
constexpr int64_t LANES = Vector::size(), ROWS = LANES / 2, WIDE = 3;  // sums of a tile fit into registers
constexpr int64_t TALL = 128, DEEP = 128;  // rows and words that stay near

// From memory to the nearest cache, while something else is computed.
inline void fetch(const char* at) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(at, 0, 3);
#endif
}

inline void fetch(const void* from, int64_t bytes) {
    const char* begin = reinterpret_cast<const char*>(from);
    for (const char* at = begin; at < begin + bytes; at += 64) fetch(at);
    fetch(begin + bytes - 1);
}

// What a row and a column give to a sum at once: 32 bits of each.
template <class T>
struct Word;

template <>
struct Word<float> {
    static constexpr int64_t NUMBERS = 1;
    static Vector add(Vector factor, Vector values, Vector sums) {
        return at::vec::fmadd(factor, values, sums);
    }
    static Vector of_rows(const float* from, int64_t, int64_t count) {
        return Vector::loadu(from, count);
    }
    static void store(float* to, Vector sums, int64_t count) {
        sums.store(to, count);
    }
};

#if defined(__AVX512BF16__) && defined(CPU_CAPABILITY_AVX512)
template <>
struct Word<at::BFloat16> {
    static constexpr int64_t NUMBERS = 2;
    static Vector add(Vector factor, Vector values, Vector sums) {
        return _mm512_dpbf16_ps(sums, (__m512bh)(__m512)factor, (__m512bh)(__m512)values);
    }
    static Vector of_rows(const at::BFloat16* from, int64_t row, int64_t count) {
        const __mmask16 some = (1u << count) - 1;
        const __m256i even = _mm256_maskz_loadu_epi16(some, from);
        const __m256i odd = _mm256_maskz_loadu_epi16(some, from + row);
        const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1);
        const __m512i pairs = _mm512_set_epi16(
            31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
            23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        return _mm512_castsi512_ps(_mm512_permutexvar_epi16(pairs, both));
    }
    static void store(at::BFloat16* to, Vector sums, int64_t count) {
        _mm256_mask_storeu_epi16(to, (1u << count) - 1, (__m256i)_mm512_cvtneps_pbh(sums));
    }
};
#endif

// Memory that vectors are read from without crossing lines of a cache.
struct Lines {
    std::unique_ptr<float[]> all;
    float* begin;
    explicit Lines(int64_t size) : all(new float[size + 16]) {
        begin = all.get() + (64 - reinterpret_cast<uintptr_t>(all.get()) % 64) % 64 / sizeof(float);
    }
};

// Vectors of columns in panels, the first ones wider by one where it has to be.
struct Panels {
    int64_t vectors, count, least, wider;
    explicit Panels(int64_t columns)
        : vectors((columns + LANES - 1) / LANES), count((vectors + WIDE - 1) / WIDE),
          least(vectors / count), wider(vectors % count) {}
    int64_t start(int64_t panel) const {
        return panel * least + std::min(panel, wider);
    }
};

// Words `first` to `last` of columns that lie beside one another, each panel from its first word to the last.
template <class T>
inline void lay_rows(
    const T* from, int64_t row, int64_t columns, int64_t depth, int64_t first, int64_t last,
    const Panels& panels, float* to) {
    for (int64_t k = first; k < last; ++k)
        for (int64_t p = 0; p < panels.count; ++p) {
            const int64_t start = panels.start(p), wide = panels.start(p + 1) - start;
            float* at = to + (start * depth + k * wide) * LANES;
            for (int64_t v = start; v < start + wide; ++v, at += LANES)
                Word<T>::of_rows(
                    from + k * Word<T>::NUMBERS * row + v * LANES, row,
                    std::min(LANES, columns - v * LANES)).store(at);
        }
}

// The same in panels of one vector; a loop of its own, since stepping through panels takes up to a tenth of
// a product over many rows.
template <class T>
inline void lay_vectors(const T* from, int64_t row, int64_t columns, int64_t depth, float* to) {
    for (int64_t k = 0; k < depth; ++k)
        for (int64_t v = 0; v < columns; v += LANES)
            Word<T>::of_rows(from + k * Word<T>::NUMBERS * row + v, row, std::min(LANES, columns - v))
                .store(to + v * depth + k * LANES);
}

// The same of columns of which each lies by itself, and vectors `first` to `last`.
template <class T>
inline void lay_columns(
    const T* from, int64_t column, int64_t columns, int64_t depth, int64_t first, int64_t last,
    const Panels& panels, float* to) {
    for (int64_t p = 0; p < panels.count; ++p) {
        const int64_t start = panels.start(p), wide = panels.start(p + 1) - start;
        for (int64_t v = std::max(start, first); v < std::min(start + wide, last); ++v) {
            const int64_t count = std::min(LANES, columns - v * LANES);
            float* at = to + (start * depth + v - start) * LANES;
            if (count < LANES)
                for (int64_t k = 0; k < depth; ++k) Vector(0.0f).store(at + k * wide * LANES);
            at::vec::transpose_mxn<float>(
                reinterpret_cast<const float*>(from + v * LANES * column), column / Word<T>::NUMBERS,
                at, wide * LANES, count, depth);
        }
    }
}

// The first numbers of a vector.
struct Some {
#if defined(CPU_CAPABILITY_AVX512)
    __mmask16 which;
    explicit Some(int64_t count) : which((1u << count) - 1) {}
    Vector load(const float* from) const {
        return _mm512_maskz_loadu_ps(which, from);
    }
#elif defined(CPU_CAPABILITY_AVX2)
    __m256i which;
    explicit Some(int64_t count)
        : which(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}
    Vector load(const float* from) const {
        return _mm256_maskload_ps(from, which);
    }
#else
    int64_t which;
    explicit Some(int64_t count) : which(count) {}
    Vector load(const float* from) const {
        return Vector::loadu(from, which);
    }
#endif
};

// Laid out, or where it is, in whole vectors or with nothing behind the last of its words.
enum Lies { LAID, WHOLE, CUT };

// Words of some columns.
template <Lies HOW>
struct Panel {
    const float* begin;
    int64_t row, depth;  // words from one to the next below it, and how many of them
};

// Of some rows and the columns of a panel: kept in single precision from the first words to the last.
template <class T>
struct Sums {
    float* partial;
    int64_t partial_row;
    bool first, last;
    T* out;
    int64_t out_row, row, column, columns;
};

// What is read next: some lines of a cache are fetched at a time, during what is computed now.
struct Next {
    const char* begin;
    const char* end;
    void some() {
        for (int64_t i = 0; i < 16 && begin < end; ++i, begin += 64) fetch(begin);
    }
};

// Tiles go where they belong.
struct Nothing {
    static constexpr bool IN_PLACE = true;
    void ahead(int64_t, int64_t, int64_t, int64_t) const {}
    void operator()(int64_t, int64_t, int64_t, int64_t) const {}
};

// All tiles go to one place, from which something takes them. What it needs beside them is fetched ahead.
template <class Ahead, class Then>
struct Follow {
    static constexpr bool IN_PLACE = false;
    const Ahead& ahead;
    const Then& then;
    void operator()(int64_t first_row, int64_t last_row, int64_t first_column, int64_t last_column) const {
        then(first_row, last_row, first_column, last_column);
    }
};
template <class Ahead, class Then>
Follow(const Ahead&, const Then&) -> Follow<Ahead, Then>;

// Rows of the left side lie a line apart; or words of a row do, and rows beside one another. A function of its
// own, so that nothing else competes for registers.
template <bool BY_ROWS, int TALL, int VECTORS, class T, Lies HOW>
C10_NOINLINE void tile(
    const T* left, int64_t left_line, const Panel<HOW>& panel, const Sums<T>& kept, int64_t row, T* out) {
    // Known distances save up to a tenth of the time where what is laid out is read a few times.
    const int64_t line = BY_ROWS ? left_line : Word<T>::NUMBERS;
    const int64_t step = BY_ROWS ? Word<T>::NUMBERS : HOW == LAID ? Word<T>::NUMBERS * LANES : left_line;
    const int64_t panel_row = HOW == LAID ? VECTORS * LANES : panel.row;
    Vector sums[TALL][VECTORS];
    float* partial = kept.partial + row * kept.partial_row;
    #pragma GCC unroll 16
    for (int r = 0; r < TALL; ++r)
        #pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v)
            sums[r][v] =
                kept.first ? Vector(0.0f) : Vector::loadu(partial + r * kept.partial_row + v * LANES);
    const Some some(std::min(LANES, kept.columns - (VECTORS - 1) * LANES));
    for (int64_t k = 0; k < panel.depth; ++k) {
        if (BY_ROWS && TALL == ROWS)  // the next rows, which are not beside these
            fetch(reinterpret_cast<const char*>(left + (TALL + k % TALL) * line) + k / TALL * (4 * TALL));
        const float* from = panel.begin + k * panel_row;
        Vector values[VECTORS];
        #pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v)
            values[v] = HOW == CUT && v + 1 == VECTORS ? some.load(from + v * LANES)
                                                       : Vector::loadu(from + v * LANES);
        #pragma GCC unroll 16
        for (int r = 0; r < TALL; ++r) {
            float word;
            std::memcpy(&word, left + r * line + k * step, sizeof(word));
            const Vector factor(word);
            #pragma GCC unroll 16
            for (int v = 0; v < VECTORS; ++v) sums[r][v] = Word<T>::add(factor, values[v], sums[r][v]);
        }
    }
    #pragma GCC unroll 16
    for (int r = 0; r < TALL; ++r)
        #pragma GCC unroll 16
        for (int v = 0; v < VECTORS; ++v)
            if (!kept.last)
                sums[r][v].store(partial + r * kept.partial_row + v * LANES);
            else
                Word<T>::store(
                    out + r * kept.out_row + v * LANES, sums[r][v],
                    std::min(LANES, kept.columns - v * LANES));
}

template <bool BY_ROWS, class T, Lies HOW, class Follow>
inline void tiles(
    int64_t vectors, int64_t rows, const T* left, int64_t line, const Panel<HOW>& panel, const Sums<T>& kept,
    int64_t row, Next& next, const Follow& follow) {
    const auto of_height = [&](auto tall, auto wide) {
        constexpr int TALL = decltype(tall)::value, VECTORS = decltype(wide)::value;
        for (; rows >= TALL; rows -= TALL, row += TALL, left += TALL * (BY_ROWS ? line : Word<T>::NUMBERS)) {
            next.some();
            const int64_t top = kept.row + row;
            if (kept.last) follow.ahead(top, top + TALL, kept.column, kept.column + kept.columns);
            tile<BY_ROWS, TALL, VECTORS>(
                left, line, panel, kept, row, kept.out + (Follow::IN_PLACE ? row * kept.out_row : 0));
            if (kept.last) follow(top, top + TALL, kept.column, kept.column + kept.columns);
        }
    };
    const auto all = [&](auto wide) {
        of_height(std::integral_constant<int, ROWS>(), wide);
        of_height(std::integral_constant<int, 4>(), wide);
        of_height(std::integral_constant<int, 2>(), wide);
        of_height(std::integral_constant<int, 1>(), wide);
    };
    if (vectors == 1) all(std::integral_constant<int, 1>());
    else if (vectors == 2) all(std::integral_constant<int, 2>());
    else all(std::integral_constant<int, WIDE>());
}

// Into how many parts the columns are taken apart. A product that is wider than high is rather taken apart so,
// as each thread then lays out what it reads; others only where the longest share becomes shorter by an eighth,
// and so are those of a right side in parts, of which rows are fetched ahead.
inline int64_t parts_across(int64_t rows, int64_t columns, int64_t threads, bool in_parts) {
    const int64_t high = (rows + ROWS - 1) / ROWS, wide = (columns + LANES - 1) / LANES;
    const int64_t sixteenths = columns > rows && !in_parts ? 17 : 14;
    int64_t best = 1, least = high * wide;
    for (int64_t across = 1; across <= std::min(threads, wide); ++across) {
        if (threads % across) continue;
        const int64_t down = threads / across;
        const int64_t most = (high + down - 1) / down * ((wide + across - 1) / across);
        if (most * 16 <= least * sixteenths) best = across;
        least = std::min(least, most);
    }
    return best;
}

// The share of thread `thread` of `threads`, which all meet at every barrier. A side is by rows where numbers
// of a row lie beside one another, and a line of it is from there to the next row, or column. The right side
// is laid out for `most` sums at once, for all threads; if these are not all, `partial` keeps sums meanwhile.
template <class T, bool LEFT_BY_ROWS, bool RIGHT_BY_ROWS, class Follow>
inline void product(
    const T* left, int64_t left_line, const T* right, int64_t right_line, T* out, int64_t out_row,
    int64_t rows, int64_t inner, int64_t columns, int64_t most,
    float* laid, float* partial, int64_t thread, int64_t threads, const Follow& follow) {
    constexpr int64_t NUMBERS = Word<T>::NUMBERS;
    const int64_t padded = Panels(columns).vectors * LANES;
    const int64_t across = parts_across(rows, columns, threads, most < inner), down = threads / across;
    const int64_t part = thread / across, beside = thread % across;
    const int64_t first_row = rows * part / down, last_row = rows * (part + 1) / down;
    const int64_t first_column = padded / LANES * beside / across * LANES;
    const int64_t last_column = std::min(columns, padded / LANES * (beside + 1) / across * LANES);
    const Panels panels(last_column - first_column);
    laid += first_column * (most / NUMBERS);
    right += first_column * (RIGHT_BY_ROWS ? 1 : right_line);
    const Lines near(LEFT_BY_ROWS ? 0 : TALL * DEEP);
    const Lines own(most < inner || inner <= DEEP * NUMBERS ? 0 : TALL * padded);
    for (int64_t begin = 0; begin < inner; begin += most) {
        const int64_t words = std::min(most, inner - begin) / NUMBERS, blocks = (words + DEEP - 1) / DEEP;
        if (RIGHT_BY_ROWS)
            lay_rows(
                right + begin * right_line, right_line, last_column - first_column, words,
                words * part / down, words * (part + 1) / down, panels, laid);
        else
            lay_columns(
                right + begin, right_line, last_column - first_column, words,
                panels.vectors * part / down, panels.vectors * (part + 1) / down, panels, laid);
        if (down > 1) {
            #pragma omp barrier
        }
        const int64_t later = RIGHT_BY_ROWS ? std::max<int64_t>(0, std::min(most, inner - begin - most)) : 0;
        const T* after = right + (begin + most) * right_line;
        Next next{
            reinterpret_cast<const char*>(after + later * thread / threads * right_line),
            reinterpret_cast<const char*>(after + later * (thread + 1) / threads * right_line)};
        for (int64_t m = first_row; m < last_row; m += TALL)
            for (int64_t block = 0; block < blocks; ++block) {
                const int64_t k = words * block / blocks, depth = words * (block + 1) / blocks - k;
                const bool first = begin == 0 && block == 0;
                const bool last = begin + most >= inner && block + 1 == blocks;
                float* kept = most < inner ? partial + m * padded : own.begin;
                const int64_t count = std::min(TALL, last_row - m), number = begin + k * NUMBERS;
                const T* from = LEFT_BY_ROWS ? left + m * left_line + number : left + number * left_line + m;
                if (!LEFT_BY_ROWS)
                    lay_vectors(from, left_line, count, depth, near.begin);
                for (int64_t p = 0; p < panels.count; ++p) {
                    const int64_t start = panels.start(p), wide = panels.start(p + 1) - start;
                    const int64_t column = first_column + start * LANES;
                    const int64_t width = std::min(wide * LANES, last_column - column);
                    const Panel<LAID> panel{laid + (start * words + k * wide) * LANES, wide * LANES, depth};
                    const Sums<T> sums{
                        kept + column, padded, first, last,
                        Follow::IN_PLACE ? out + m * out_row + column : out, out_row,
                        m, column, width};
                    if (LEFT_BY_ROWS)
                        tiles<true>(wide, count, from, left_line, panel, sums, 0, next, follow);
                    else
                        for (int64_t i = 0; i < count; i += LANES)
                            tiles<false>(
                                wide, std::min(LANES, count - i),
                                reinterpret_cast<const T*>(near.begin + i * depth), NUMBERS * LANES, panel,
                                sums, i, next, follow);
                }
            }
        if (begin + most < inner) {
            #pragma omp barrier
        }
    }
}

// Into how many parts rows that are summed over are taken apart at most: with few of them, adding sums of
// several threads takes longer than it helps.
inline int64_t most_parts(int64_t inner, int64_t threads) {
    return std::max<int64_t>(1, std::min<int64_t>(threads, inner / 512));
}

// Summed over the rows of two sides, both read where they lie. Each thread takes some rows and all sums, or
// all rows and some sums; `partial` keeps the sums of threads, or those of the first rows.
inline void product_over_rows(
    const float* left, int64_t left_row, const float* right, int64_t right_row, float* out, int64_t out_row,
    int64_t rows, int64_t inner, int64_t columns, float* partial, int64_t thread, int64_t threads) {
    const Panels panels(columns);
    int64_t parts = most_parts(inner, threads);
    while (threads % parts) --parts;
    const int64_t part = thread % parts;
    const int64_t down = threads / parts, beside = thread / parts;
    const int64_t first_row = rows * beside / down, last_row = rows * (beside + 1) / down;
    const int64_t begin = inner * part / parts, end = inner * (part + 1) / parts;
    const int64_t blocks = (end - begin + DEEP - 1) / DEEP, padded = panels.vectors * LANES;
    float* sums = partial + part * rows * padded;
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t k = begin + (end - begin) * block / blocks;
        const int64_t after = begin + (end - begin) * (block + 1) / blocks, depth = after - k;
        const int64_t later = down == 1 ? std::min(after + depth, end) : after;
        const auto lines = [&](const float* side, int64_t row) {
            return Next{
                reinterpret_cast<const char*>(side + after * row),
                reinterpret_cast<const char*>(side + later * row)};
        };
        Next next[] = {lines(left, left_row), lines(right, right_row)};
        for (int64_t p = 0; p < panels.count; ++p) {
            const int64_t start = panels.start(p), wide = panels.start(p + 1) - start;
            const int64_t column = start * LANES, width = std::min(wide * LANES, columns - column);
            const Sums<float> kept{
                sums + column, padded, block == 0, parts == 1 && block + 1 == blocks,
                out + column, out_row, 0, column, width};
            const auto all = [&](const auto& panel) {
                for (int64_t m = first_row; m < last_row; m += ROWS) {
                    next[0].some();
                    tiles<false>(
                        wide, std::min(ROWS, last_row - m), left + k * left_row + m, left_row, panel, kept, m,
                        next[1], Nothing());
                }
            };
            const float* from = right + k * right_row + column;
            if (width == wide * LANES) all(Panel<WHOLE>{from, right_row, depth});
            else all(Panel<CUT>{from, right_row, depth});
        }
    }
    #pragma omp barrier
    if (parts == 1) return;
    for (int64_t m = rows * thread / threads; m < rows * (thread + 1) / threads; ++m)
        for (int64_t n = 0; n < columns; n += LANES) {
            Vector sum = Vector::loadu(partial + m * padded + n);
            for (int64_t i = 1; i < parts; ++i)
                sum = sum + Vector::loadu(partial + (i * rows + m) * padded + n);
            sum.store(out + m * out_row + n, std::min(LANES, columns - n));
        }
}

}  // namespace pyrovae_panels
#endif
