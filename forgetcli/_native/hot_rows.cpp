// The row kernels of rows.h for one instruction set.
#include <optional>

#include "hot_system.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

template <typename T>
void write_solution(const RowObjective<T>& o, const T* x, RowSolution<T> out) {
    for (int j = 0; j < o.rank; ++j) out.factors[j] = x[j];
    if (out.bias) *out.bias = o.with_bias ? x[o.rank] : T(0);
}

// Solves the system in scratch memory. At the solution the row's part of the objective is Σ c t² − rhs · x.
template <typename T>
bool finish_row(const RowObjective<T>& o, const Shape& s, std::int64_t entries, const Scratch<T>& scratch,
                RowSolution<T> out) {
    const Partial<T> system(scratch.systems, s);
    complete_system(o, s, entries, system);
    T* rhs = system.rhs(s);
    T* pivots = scratch.work + s.stride;
    for (int j = 0; j < s.d; ++j) scratch.rhs[j] = rhs[j];
    if (!factor_system(s, system.matrix, system.lower, scratch.work, pivots)) return false;
    for (int j = 0; j < s.stride; ++j) scratch.x[j] = rhs[j];
    if (!solve_factored(s, system.matrix, system.lower, pivots, scratch.x)) return false;
    write_solution(o, scratch.x, out);
    double product = 0;
    for (int j = 0; j < s.d; ++j) product += double(scratch.rhs[j]) * double(scratch.x[j]);
    *out.product = product;
    *out.loss = system.read_constant() - product;
    return true;
}

// A row without entries asks for nothing: its solution is 0, whatever its regularisation.
template <typename T>
void solve_empty(const RowObjective<T>& o, RowSolution<T> out) {
    for (int j = 0; j < o.rank; ++j) out.factors[j] = 0;
    if (out.bias) *out.bias = 0;
    *out.loss = *out.product = 0;
}

// Rows whose systems are accumulated one after the other and solved together, each in a lane. A row's bits do not
// depend on the others.
template <typename T>
class Batch {
  public:
    Batch(const RowObjective<T>& objective, const Shape& shape, const Scratch<T>& scratch)
        : o_(objective), s_(shape), size_(partial_elements<T>(shape)), systems_(scratch.systems),
          lanes_(scratch.lanes, shape.d) {
        ridges_ = scratch.lanes + lanes_.elements(s_.d);
        solved_ = ridges_ + L;
        for (std::int64_t j = 0; j < lanes_.elements(s_.d); ++j) scratch.lanes[j] = 0;
    }

    T* next_system() const { return systems_ + count_ * size_; }
    bool full() const { return count_ == L; }

    // Takes the system that was written to next_system().
    void add(std::int64_t position, std::int64_t entries, RowSolution<T> out) {
        ridges_[count_] = ridge_of(o_, entries);
        positions_[count_] = position;
        out_[count_++] = out;
    }

    // Solves the rows that were added. The first one's position that has no solution, or NO_ROW.
    std::int64_t solve() {
        if (count_ == 0) return NO_ROW;
        for (int l = count_; l < L; ++l) ridges_[l] = ridges_[count_ - 1];
        T ok[L];
        for (T& each : ok) each = 1;
        load_systems(s_, systems_, size_, count_, lanes_);
        complete_systems(o_.gram, ridges_, lanes_);
        factor_systems(lanes_, ok);
        solve_systems(lanes_, ok);
        write();
        std::int64_t failed = NO_ROW;
        for (int l = count_ - 1; l >= 0; --l) {
            if (ok[l] == T(0)) failed = positions_[l];
        }
        count_ = 0;
        return failed;
    }

  private:
    static constexpr int L = LANES<T>;

    void write() const {
        double products[L] = {};
        for (int i = 0; i < s_.d; ++i) {
            for (int l = 0; l < L; ++l) products[l] += double(lanes_.rhs[i * L + l]) * double(lanes_.x[i * L + l]);
        }
        const int width = lanes_.padded(s_.d);
        for (int j = 0; j < width; j += L) {
            Vector<T> rows[L];
            for (int i = 0; i < L; ++i) rows[i] = load<T>(lanes_.x + (j + i) * L);
            transpose<T>(rows);
            for (int l = 0; l < L; ++l) store<T>(solved_ + l * width + j, rows[l]);
        }
        for (int l = 0; l < count_; ++l) {
            write_solution(o_, solved_ + l * width, out_[l]);
            *out_[l].product = products[l];
            *out_[l].loss = Partial<T>(systems_ + l * size_, s_).read_constant() - products[l];
        }
    }

    const RowObjective<T>& o_;
    const Shape s_;
    const std::int64_t size_;
    T* systems_;
    LaneSystems<T> lanes_;
    T* ridges_;  // (LANES,)
    T* solved_;  // (LANES, padded d)
    int count_ = 0;
    std::int64_t positions_[L];
    RowSolution<T> out_[L];
};

template <typename T>
void accumulate(const RowObjective<T>& o, std::int64_t begin, std::int64_t end, T* memory, T* out) {
    const Shape s = shape_of<T>(o.dimension());
    accumulate_entries(o, s, begin, end, in_lanes(s), Scratch<T>(memory, s), out);
}

template <typename T>
std::int64_t solve(const RowObjective<T>& o, const RowRange& rows, T* memory, RowSolution<T> first) {
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    const bool together = in_lanes(s);
    std::optional<Batch<T>> batch;
    if (together) batch.emplace(o, s, scratch);
    std::int64_t failed = NO_ROW;
    const auto note = [&](std::int64_t position) { failed = position < failed ? position : failed; };
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
        const std::int64_t row = rows.listed ? rows.listed[i] : i;
        const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
        const RowSolution<T> out = solution_at(first, i, o.rank);
        if (end - begin > rows.longest) continue;
        if (begin == end) {
            solve_empty(o, out);
        } else if (together) {
            accumulate_entries(o, s, begin, end, true, scratch, batch->next_system());
            batch->add(i, end - begin, out);
            if (batch->full()) note(batch->solve());
        } else {
            accumulate_entries(o, s, begin, end, false, scratch, scratch.systems);
            if (!finish_row(o, s, end - begin, scratch, out)) note(i);
        }
    }
    if (together) note(batch->solve());
    return failed;
}

template <typename T>
void add_partial(int dimension, const T* partial, T* sum) {
    const Shape s = shape_of<T>(dimension);
    const std::int64_t size = partial_elements<T>(s);
    const Partial<T> whole(sum, s);
    const double constant = whole.read_constant() + Partial<T>(const_cast<T*>(partial), s).read_constant();
    for (std::int64_t j = 0; j < size; ++j) sum[j] += partial[j];
    whole.write_constant(constant);
}

template <typename T>
bool solve_sum(const RowObjective<T>& o, std::int64_t row, const T* sum, T* memory, RowSolution<T> out) {
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    const std::int64_t size = partial_elements<T>(s), entries = o.indptr[row + 1] - o.indptr[row];
    for (std::int64_t j = 0; j < size; ++j) scratch.systems[j] = sum[j];
    if (!in_lanes(s)) return finish_row(o, s, entries, scratch, out);
    Batch<T> batch(o, s, scratch);
    batch.add(row, entries, out);
    return batch.solve() == NO_ROW;
}

template <typename T>
void gram(const T* x, std::int64_t n, int rank, T* memory, T* out) {
    const RowObjective<T> all{nullptr, nullptr, nullptr, nullptr, nullptr, n, x, nullptr, n,    rank,
                              false,   nullptr, 0,       1,       0,       0, 0, 0,       false};
    const Shape s = shape_of<T>(rank);
    const Scratch<T> scratch(memory, s);
    accumulate_entries(all, s, 0, n, false, scratch, scratch.systems);
    const Partial<T> sums(scratch.systems, s);
    for (int i = 0; i < rank; ++i) {
        for (int j = 0; j <= i; ++j) {
            const T value = i < s.full ? sums.matrix[j * static_cast<std::int64_t>(s.full) + i]
                                       : sums.lower[(i - s.full) * s.stride + j];
            out[i * static_cast<std::int64_t>(rank) + j] = out[j * static_cast<std::int64_t>(rank) + i] = value;
        }
    }
}

}  // namespace

template <typename T>
const RowKernels<T>& row_kernels() {
    static const RowKernels<T> table{scratch_size<T>, partial_size<T>, accumulate<T>, add_partial<T>,
                                     solve_sum<T>,    solve<T>,        gram<T>};
    return table;
}
FORGETCLI_OFFER_KERNELS(RowKernels, row_kernels)

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
