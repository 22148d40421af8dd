// The kernels that pass over the entries without forming a row's matrix, as Python functions: gradients, Newton's steps,
// the linearised half-sweep.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <tuple>
#include <vector>

#include "coupling.h"
#include "row_border.h"

namespace forgetcli {

namespace {

// Rows of a pair table that one task fills.
constexpr std::int64_t FILL_ROWS = 2048;

FORGETCLI_CHOOSE_KERNELS(CouplingKernels, coupling_kernels)

// The power of two that brings the largest magnitude into [1, 2).
template <typename T>
T scale_to_one(const T* x, std::int64_t count, int threads) {
    constexpr int LANES = 16;
    std::vector<T> largest(pieces(count), T(0));
    parallel_for(static_cast<std::int64_t>(largest.size()), threads, [&](std::int64_t t, int) {
        const std::int64_t end = std::min(count, (t + 1) * PIECE);
        T lanes[LANES] = {};
        std::int64_t i = t * PIECE;
        for (; i + LANES <= end; i += LANES) {
            for (int lane = 0; lane < LANES; ++lane) lanes[lane] = std::max(lanes[lane], std::abs(x[i + lane]));
        }
        for (; i < end; ++i) lanes[0] = std::max(lanes[0], std::abs(x[i]));
        largest[t] = *std::max_element(lanes, lanes + LANES);
    });
    const T most = largest.empty() ? T(0) : *std::max_element(largest.begin(), largest.end());
    if (!(most > 0) || !std::isfinite(most)) return T(1);
    int exponent;
    std::frexp(most, &exponent);
    return std::ldexp(T(1), 1 - std::clamp(exponent, -100, 100));
}

// A vector padded with zeros.
template <typename T>
Buffer<T> padded_row(const Input<T, 1>& row, int padded) {
    Buffer<T> out = make_buffer<T>(padded);
    std::fill(std::copy(row.data(), row.data() + row.shape(0), out.get()), out.get() + padded, T(0));
    return out;
}

// The arguments that describe the coordinates of NormalSystem, its preconditioner, and the iteration.
template <typename T>
struct Iteration {
    Input<T, 2> vectors;
    Input<T, 1> mean, border, dense;
    double tolerance;
    int max_iterations;
};

// Orthogonal coordinates of the factors, x̃ = Eᵀ x; a bias behind them stays what it is.
template <typename T>
class Coordinates {
  public:
    Coordinates(const RowObjective<T>& o, const Input<T, 2>& vectors)
        : multiply_(coupling_kernels<T>().multiply), rank_(o.rank), width_(to_width(o.rank)),
          padded_(to_width(o.dimension())), with_bias_(o.with_bias) {
        require(static_cast<int>(vectors.shape(0)) == rank_ && static_cast<int>(vectors.shape(1)) == rank_,
                "vectors must be (rank, rank)");
        const std::size_t size = static_cast<std::size_t>(rank_) * width_;
        for (Buffer<T>* matrix : {&vectors_, &transposed_}) {
            *matrix = make_buffer<T>(size);
            std::fill(matrix->get(), matrix->get() + size, T(0));
        }
        for (int i = 0; i < rank_; ++i) {
            for (int j = 0; j < rank_; ++j) {
                const T element = vectors.data()[static_cast<std::size_t>(i) * rank_ + j];
                vectors_.get()[static_cast<std::size_t>(i) * width_ + j] = element;
                transposed_.get()[static_cast<std::size_t>(j) * width_ + i] = element;
            }
        }
    }

    const T* vectors() const { return vectors_.get(); }

    // From factors and bias, to `padded` elements.
    void enter(const T* factors, T bias, T* out) const {
        multiply_(factors, vectors_.get(), rank_, width_, out);
        std::fill(out + width_, out + padded_, T(0));
        if (with_bias_) out[rank_] = bias;
    }
    // And back; `spare` has `width` elements.
    void leave(const T* from, T* spare, T* factors, T* bias) const {
        multiply_(from, transposed_.get(), rank_, width_, spare);
        std::copy(spare, spare + rank_, factors);
        if (bias) *bias = with_bias_ ? from[rank_] : T(0);
    }

  private:
    decltype(CouplingKernels<T>::multiply) multiply_;
    int rank_, width_, padded_;
    bool with_bias_;
    Buffer<T> vectors_, transposed_;
};

// A pair table and its memory, in coordinates or, without, as it is; whole rows that need no change are used where they
// are.
template <typename T>
class FilledPairs {
  public:
    FilledPairs(const RowObjective<T>& o, const Coordinates<T>* coordinates, const T* delta, bool half, int threads) {
        const CouplingKernels<T>& kernels = coupling_kernels<T>();
        const T* x = o.other;
        const std::int64_t count = o.n_other;
        const int rank = o.rank;
        table_.half = half && kernels.has_half;
        table_.width = to_width(rank);
        table_.padded = to_width(o.dimension());
        table_.stride = delta ? 2 * table_.width : table_.width;
        table_.x_scale = table_.half ? scale_to_one(x, count * rank, threads) : T(1);
        table_.delta_scale = table_.half && delta ? scale_to_one(delta, count * rank, threads) : T(1);
        table_.x_unscale = 1 / table_.x_scale;
        table_.delta_unscale = 1 / table_.delta_scale;
        table_.rows = x;
        if (!coordinates && !table_.half && table_.stride == rank) return;
        memory_ = make_buffer<char>(count * table_.stride * static_cast<std::int64_t>(table_.half ? 2 : sizeof(T)));
        table_.rows = memory_.get();
        ScratchPool<T> scratch(threads, table_.width);
        parallel_for(pieces(count, FILL_ROWS), threads, [&](std::int64_t t, int worker) {
            kernels.fill(table_, coordinates ? coordinates->vectors() : nullptr, x, delta, t * FILL_ROWS,
                         std::min(count, (t + 1) * FILL_ROWS), rank, scratch.of(worker), memory_.get());
        });
    }
    const PairTable<T>& table() const { return table_; }

  private:
    PairTable<T> table_{};
    Buffer<char> memory_;
};

// Rows are worked on in balanced ranges, whatever their number of entries. No row is shared by threads: a million entries
// of rank 64 take one of them a tenth of a second, where forming their matrix takes two threads half of that.
template <typename T, typename Task>
void for_all_rows(const RowObjective<T>& o, const RowList& list, int threads, Task task) {
    const std::int64_t d = o.dimension();
    for_rows(o, list, 16 * d, 8 * d * d, threads, [](std::int64_t) { return true; }, task);
}

// The inverses of the rows' normal matrices, ready to be applied in the table's coordinates.
template <typename T>
class Inverses {
  public:
    Inverses(const RowObjective<T>& o, const PairTable<T>& table, const Coordinates<T>& coordinates,
             const Iteration<T>& iteration, int threads)
        : coordinates_(coordinates), padded_(table.padded), scratch_(threads, 9 * static_cast<std::int64_t>(padded_)) {
        const std::size_t rank = o.rank, d = o.dimension();
        require(iteration.mean.shape(0) == d && iteration.border.shape(0) == rank && iteration.dense.shape(0) == rank,
                "the preconditioner must have the rows' dimension");
        mean_ = padded_row(iteration.mean, padded_);
        border_ = padded_row(iteration.border, padded_);
        dense_ = padded_row(iteration.dense, padded_);
        system_ = {o,
                   table,
                   mean_.get(),
                   border_.get(),
                   dense_.get(),
                   T(iteration.tolerance),
                   T(0),
                   iteration.max_iterations};
    }

    // Rows need not be solved better than a total of about this asks for, of all rows' products of their right-hand sides
    // and solutions.
    void expect(double total) {
        const double tolerance = double(system_.tolerance);
        const std::int64_t entries = std::max<std::int64_t>(system_.objective.nnz, 1);
        system_.floor = T(tolerance * tolerance * total / double(entries));
    }

    const T* dense() const { return dense_.get(); }

    // A worker's memory: a row's own parameters and right-hand side, and `width` elements that `apply` uses.
    T* own(int worker) { return scratch_.of(worker); }
    T* rhs(int worker) { return scratch_.of(worker) + padded_; }
    T* spare(int worker) { return scratch_.of(worker) + 2 * padded_; }

    // About what a row's product will be.
    double weigh(std::int64_t row, int worker) {
        return coupling_kernels<T>().weigh(system_, row, rhs(worker), scratch_.of(worker) + 3 * padded_);
    }

    // A row's inverse times the right-hand side, which is used up, into factors (rank,) and bias; returns it in the
    // table's coordinates.
    const T* apply(std::int64_t row, int worker, T* factors, T* bias) {
        coupling_kernels<T>().solve(system_, row, rhs(worker), scratch_.of(worker) + 3 * padded_, spare(worker));
        coordinates_.leave(spare(worker), rhs(worker), factors, bias);
        return spare(worker);
    }

  private:
    const Coordinates<T>& coordinates_;
    int padded_;
    ScratchPool<T> scratch_;
    Buffer<T> mean_, border_, dense_;
    NormalSystem<T> system_;
};

// Those of a row's entries whose row of the other side moves, where few do: nothing else of the other side has to be
// looked up for what the movement does.
template <typename T>
class MovingEntries {
  public:
    // direction: (n_other, rank); bias: (n_other,) or null.
    MovingEntries(const RowObjective<T>& o, const T* direction, const T* bias, int threads)
        : o_(o), moving_(o.n_other), workers_(resolve_threads(threads)) {
        std::atomic<std::int64_t> count{0};
        parallel_pieces(o.n_other, threads, [&](std::int64_t begin, std::int64_t end) {
            std::int64_t here = 0;
            for (std::int64_t i = begin; i < end; ++i) {
                const T* row = direction + i * o.rank;
                moving_[i] = (bias && bias[i] != 0) || std::any_of(row, row + o.rank, [](T x) { return x != 0; });
                here += moving_[i];
            }
            count += here;
        }, FILL_ROWS);
        few_ = count < o.n_other / FEW;
    }

    // Whether it is worth leaving the others out.
    bool few() const { return few_; }

    // The objective with one row, that of the row's moving entries; valid until this worker's next one.
    RowObjective<T> of(std::int64_t row, int worker) {
        Worker& memory = workers_[worker];
        const std::int64_t begin = o_.indptr[row], entries = o_.indptr[row + 1] - begin;
        if (static_cast<std::int64_t>(memory.indices.size()) < entries) {
            memory.indices.resize(entries);
            memory.values.resize(entries);
        }
        std::int64_t n = 0;
        for (std::int64_t e = begin; e < begin + entries; ++e) {
            memory.indices[n] = o_.indices[e];
            memory.values[n] = value_of(o_, e);
            n += moving_[o_.indices[e]];
        }
        memory.indptr[1] = n;
        RowObjective<T> some = o_;
        some.indptr = memory.indptr;
        some.indices = memory.indices.data();
        some.values = memory.values.data();
        some.codes = nullptr;
        some.nnz = n;
        return some;
    }

  private:
    static constexpr std::int64_t FEW = 4;
    struct Worker {
        std::vector<std::int32_t> indices;
        std::vector<float> values;
        std::int64_t indptr[2] = {0, 0};
    };
    const RowObjective<T>& o_;
    std::vector<std::uint8_t> moving_;
    std::vector<Worker> workers_;
    bool few_ = false;
};

template <typename T>
std::tuple<Output<T, 2>, Output<double, 1>, Output<double, 1>> row_gradients(
    const View& view, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
    std::optional<Input<std::int64_t, 1>> rows, int threads) {
    const Arguments<T> arguments{view,      other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowList list = RowList::of(rows, view.n_rows());
    const RowObjective<T> o = arguments.checked();
    require_own(o, list, factors, bias);
    T* gradients;
    double *losses, *squares;
    const int d = o.dimension();
    auto gradient = new_matrix<T>(list.count, d, &gradients);
    auto loss = new_vector<double>(list.count, &losses);
    auto square = new_vector<double>(list.count, &squares);
    const FilledPairs<T> whole(o, nullptr, nullptr, false, threads);
    const int padded = whole.table().padded;
    ScratchPool<T> scratch(threads, 3 * static_cast<std::int64_t>(padded));
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    for_all_rows(o, list, threads, [&](std::int64_t i, int worker) {
        T *own = scratch.of(worker), *out = own + padded;
        std::fill(std::copy(factors.data() + i * o.rank, factors.data() + (i + 1) * o.rank, own), own + padded, T(0));
        if (o.with_bias) own[o.rank] = bias.data()[i];
        const RowValue value = kernels.gradient(o, whole.table(), list[i], nullptr, own, out + padded, out);
        std::copy(out, out + d, gradients + i * d);
        losses[i] = value.loss;
        squares[i] = value.square;
    });
    return {gradient, loss, square};
}

// The rows' parts of the objective at their parameters.
template <typename T>
Output<double, 1> row_losses(const View& view, Input<T, 2> other, std::optional<Input<T, 1>> other_bias,
                             std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence, Pair target,
                             double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
                             int threads) {
    const Arguments<T> arguments{view,      other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowList list{nullptr, view.n_rows()};
    const RowObjective<T> o = arguments.checked();
    require_own(o, list, factors, bias);
    double* losses;
    auto loss = new_vector<double>(list.count, &losses);
    const FilledPairs<T> whole(o, nullptr, nullptr, false, threads);
    const int padded = whole.table().padded;
    ScratchPool<T> scratch(threads, 2 * static_cast<std::int64_t>(padded));
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    for_all_rows(o, list, threads, [&](std::int64_t row, int worker) {
        T* own = scratch.of(worker);
        const T* given = factors.data() + row * o.rank;
        std::fill(std::copy(given, given + o.rank, own), own + padded, T(0));
        if (o.with_bias) own[o.rank] = bias.data()[row];
        losses[row] = kernels.loss(o, whole.table(), row, own, own + padded);
    });
    return loss;
}

// The rows' gradients at their parameters, and Newton's steps: the inverses of the normal matrices times what of them is
// not held.
template <typename T>
std::tuple<Output<T, 2>, Output<double, 1>, Output<double, 1>, Output<T, 2>, Output<T, 1>> newton_rows(
    const View& view, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
    Input<T, 2> vectors, Input<T, 1> mean, Input<T, 1> border, Input<T, 1> dense, double tolerance, int max_iterations,
    std::optional<Input<T, 2>> held, std::optional<Input<std::int64_t, 1>> rows, int threads) {
    const Arguments<T> arguments{view,      other,      other_bias, std::nullopt,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowList list = RowList::of(rows, view.n_rows());
    const RowObjective<T> o = arguments.checked(false);
    require_own(o, list, factors, bias);
    require(!held || (static_cast<std::int64_t>(held->shape(0)) == list.count &&
                      static_cast<int>(held->shape(1)) == o.dimension()),
            "held must be (rows, rank), or rank + 1 with a bias");
    T *gradients, *step, *bias_step;
    double *losses, *squares;
    const int d = o.dimension();
    auto gradient = new_matrix<T>(list.count, d, &gradients);
    auto loss = new_vector<double>(list.count, &losses);
    auto square = new_vector<double>(list.count, &squares);
    auto step_out = new_matrix<T>(list.count, o.rank, &step);
    auto bias_out = new_vector<T>(list.count, &bias_step);
    const Coordinates<T> coordinates(o, vectors);
    const FilledPairs<T> whole(o, &coordinates, nullptr, false, threads);
    Inverses<T> inverses(o, whole.table(), coordinates, {vectors, mean, border, dense, tolerance, max_iterations},
                         threads);
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    for_all_rows(o, list, threads, [&](std::int64_t i, int worker) {
        T *own = inverses.own(worker), *rhs = inverses.rhs(worker), *spare = inverses.spare(worker);
        coordinates.enter(factors.data() + i * o.rank, bias.data()[i], own);
        const RowValue value = kernels.gradient(o, whole.table(), list[i], inverses.dense(), own, spare, rhs);
        losses[i] = value.loss;
        squares[i] = value.square;
        coordinates.leave(rhs, spare, gradients + i * d, o.with_bias ? gradients + i * d + o.rank : nullptr);
        if (held) {
            const T* row = held->data() + i * d;
            coordinates.enter(row, o.with_bias ? row[o.rank] : T(0), own);
            for (int j = 0; j < whole.table().padded; ++j) rhs[j] -= own[j];
        }
        inverses.apply(list[i], worker, step + i * o.rank, bias_step + i);
    });
    return {gradient, loss, square, step_out, bias_out};
}

// How the rows' half gradients change along a direction of the other side, where asked for; the inverses of the normal
// matrices times that; and each row's product of the two.
template <typename T>
std::tuple<std::optional<Output<T, 2>>, Output<double, 1>, Output<T, 2>, Output<T, 1>> solve_coupled(
    const View& view, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
    Input<T, 2> direction, std::optional<Input<T, 1>> direction_bias, std::optional<Input<T, 2>> direction_gram,
    Input<T, 2> vectors, Input<T, 1> mean, Input<T, 1> border, Input<T, 1> dense, double tolerance, int max_iterations,
    std::optional<double> expected, bool with_change, bool half, int threads) {
    const Arguments<T> arguments{view,      other,      other_bias, std::nullopt,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowList list{nullptr, view.n_rows()};
    const RowObjective<T> o = arguments.checked(false);
    require_own(o, list, factors, bias);
    require(direction.shape(0) == other.shape(0) && direction.shape(1) == other.shape(1),
            "direction must have the shape of other");
    require(!direction_bias || direction_bias->shape(0) == direction.shape(0),
            "direction_bias must have a value for each row of direction");
    require(!direction_gram || (direction_gram->shape(0) == other.shape(1) && direction_gram->shape(1) == other.shape(1)),
            "direction_gram must be (rank, rank)");
    T *change = nullptr, *solution, *bias_solution;
    double* products;
    const int d = o.dimension();
    std::optional<Output<T, 2>> change_out;
    if (with_change) change_out = new_matrix<T>(list.count, d, &change);
    auto product_out = new_vector<double>(list.count, &products);
    auto solution_out = new_matrix<T>(list.count, o.rank, &solution);
    auto bias_out = new_vector<T>(list.count, &bias_solution);
    const Coordinates<T> coordinates(o, vectors);
    const FilledPairs<T> pairs(o, &coordinates, direction.data(), half, threads);
    const T* delta_bias = direction_bias ? direction_bias->data() : nullptr;
    const Coupling<T> whole{o, pairs.table(), delta_bias, direction_gram ? direction_gram->data() : nullptr};
    MovingEntries<T> moving(o, direction.data(), delta_bias, threads);
    Inverses<T> inverses(o, pairs.table(), coordinates, {vectors, mean, border, dense, tolerance, max_iterations},
                         threads);
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    const auto couple = [&](std::int64_t row, int worker) {
        T *own = inverses.own(worker), *rhs = inverses.rhs(worker), *spare = inverses.spare(worker);
        coordinates.enter(factors.data() + row * o.rank, bias.data()[row], own);
        if (moving.few()) {
            Coupling<T> some = whole;
            some.objective = moving.of(row, worker);
            kernels.couple(some, 0, own, spare, rhs);
        } else {
            kernels.couple(whole, row, own, spare, rhs);
        }
        if (change) {
            T* out = change + row * d;
            coordinates.leave(rhs, spare, out, o.with_bias ? out + o.rank : nullptr);
        }
    };
    const auto solve = [&](std::int64_t row, int worker) {
        T *own = inverses.own(worker), *rhs = inverses.rhs(worker);
        std::copy(rhs, rhs + pairs.table().padded, own);
        const T* solved = inverses.apply(row, worker, solution + row * o.rank, bias_solution + row);
        products[row] = 0;
        for (int j = 0; j < pairs.table().padded; ++j) products[row] += double(own[j]) * double(solved[j]);
    };
    if (expected || !moving.few()) {
        inverses.expect(expected.value_or(0.0));
        for_all_rows(o, list, threads, [&](std::int64_t row, int worker) {
            couple(row, worker);
            solve(row, worker);
        });
    } else {  // most rows' parts are small, and to couple them took little
        for_all_rows(o, list, threads, [&](std::int64_t row, int worker) {
            couple(row, worker);
            const T* rhs = inverses.rhs(worker);
            std::copy(rhs, rhs + o.rank, solution + row * o.rank);
            bias_solution[row] = o.with_bias ? rhs[o.rank] : T(0);
            products[row] = inverses.weigh(row, worker);
        });
        inverses.expect(std::accumulate(products, products + list.count, 0.0));
        for_all_rows(o, list, threads, [&](std::int64_t row, int worker) {
            T* rhs = inverses.rhs(worker);
            const T* kept = solution + row * o.rank;
            std::fill(std::copy(kept, kept + o.rank, rhs), rhs + pairs.table().padded, T(0));
            if (o.with_bias) rhs[o.rank] = bias_solution[row];
            solve(row, worker);
        });
    }
    return {change_out, product_out, solution_out, bias_out};
}

// The inverses of the rows' normal matrices times a right-hand side for each.
template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>> solve_normal(
    const View& view, Input<T, 2> other,
    bool with_bias, Pair confidence, double background, double reg, bool reg_by_count,
    Input<T, 2> rhs, Input<T, 2> vectors, Input<T, 1> mean, Input<T, 1> border, Input<T, 1> dense, double tolerance, int max_iterations,
    std::optional<Input<std::int64_t, 1>> rows, int threads) {
    const Arguments<T> arguments{view,      other,      std::nullopt, std::nullopt,
                                 with_bias, confidence, {0.0, 0.0}, background, reg,          reg_by_count};
    const RowList list = RowList::of(rows, view.n_rows());
    const RowObjective<T> o = arguments.checked(false);
    const int d = o.dimension();
    require(static_cast<std::int64_t>(rhs.shape(0)) == list.count && static_cast<int>(rhs.shape(1)) == d,
            "rhs must be (rows, rank), or rank + 1 with a bias");
    T *solution, *bias_solution;
    auto solution_out = new_matrix<T>(list.count, o.rank, &solution);
    auto bias_out = new_vector<T>(list.count, &bias_solution);
    const Coordinates<T> coordinates(o, vectors);
    const FilledPairs<T> whole(o, &coordinates, nullptr, false, threads);
    Inverses<T> inverses(o, whole.table(), coordinates, {vectors, mean, border, dense, tolerance, max_iterations},
                         threads);
    for_all_rows(o, list, threads, [&](std::int64_t i, int worker) {
        coordinates.enter(rhs.data() + i * d, o.with_bias ? rhs.data()[i * d + o.rank] : T(0), inverses.rhs(worker));
        inverses.apply(list[i], worker, solution + i * o.rank, bias_solution + i);
    });
    return {solution_out, bias_out};
}

// Σ of the products of a side's elements and those of a stacked direction, in float64.
template <typename T>
double inner_product(Input<T, 2> factors, Input<T, 1> bias, Input<T, 2> stacked) {
    const std::size_t n = factors.shape(0), k = factors.shape(1), d = stacked.shape(1);
    require(bias.shape(0) == n && stacked.shape(0) == n && (d == k || d == k + 1),
            "stacked must be (n, k), or (n, k + 1) with the bias");
    constexpr std::size_t LANES = 8;
    double sums[LANES] = {};
    for (std::size_t i = 0; i < n; ++i) {
        const T *x = factors.data() + i * k, *y = stacked.data() + i * d;
        std::size_t j = 0;
        for (; j + LANES <= k; j += LANES) {
            for (std::size_t lane = 0; lane < LANES; ++lane) sums[lane] += double(x[j + lane]) * double(y[j + lane]);
        }
        for (; j < k; ++j) sums[0] += double(x[j]) * double(y[j]);
        if (d > k) sums[1] += double(bias.data()[i]) * double(y[k]);
    }
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
}

// Σ of weights times matrices of one shape.
template <typename T>
Output<T, 2> combination(const std::vector<Input<T, 2>>& parts, const std::vector<double>& weights, int threads) {
    require(!parts.empty() && parts.size() == weights.size(), "not one weight for each of some matrices");
    const std::size_t rows = parts[0].shape(0), columns = parts[0].shape(1);
    for (const auto& part : parts) {
        require(part.shape(0) == rows && part.shape(1) == columns, "matrices of different shapes");
    }
    T* sum;
    auto out = new_matrix<T>(rows, columns, &sum);
    constexpr std::int64_t BLOCK = 1 << 12;  // elements that stay in a core's cache between the matrices
    parallel_pieces(static_cast<std::int64_t>(rows * columns), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t at = begin; at < end; at += BLOCK) {
            const std::int64_t last = std::min(end, at + BLOCK);
            for (std::size_t i = 0; i < parts.size(); ++i) {
                const T weight = T(weights[i]), *const x = parts[i].data();
                if (i == 0) {
                    for (std::int64_t j = at; j < last; ++j) sum[j] = weight * x[j];
                } else {
                    for (std::int64_t j = at; j < last; ++j) sum[j] += weight * x[j];
                }
            }
        }
    });
    return out;
}

template <typename T>
void bind(nb::module_& m) {
    using namespace nb::literals;
    m.def("inner_product", &inner_product<T>, nb::kw_only(), "factors"_a.noconvert(), "bias"_a.noconvert(),
          "stacked"_a.noconvert());
    m.def("combination", &combination<T>, "parts"_a.noconvert(), "weights"_a, "threads"_a);
    m.def("row_gradients", &row_gradients<T>, nb::kw_only(), "view"_a,
          "other"_a.noconvert(), "other_bias"_a.none(), "gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a,
          "background"_a, "reg"_a, "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(), "rows"_a.none(),
          "threads"_a);
    m.def("row_losses", &row_losses<T>, nb::kw_only(), "view"_a, "other"_a.noconvert(),
          "other_bias"_a.none(), "gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a, "reg"_a,
          "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(), "threads"_a);
    m.def("newton_rows", &newton_rows<T>, nb::kw_only(), "view"_a, "other"_a.noconvert(),
          "other_bias"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a, "reg"_a,
          "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(), "vectors"_a.noconvert(),
          "mean"_a.noconvert(), "border"_a.noconvert(), "dense"_a.noconvert(), "tolerance"_a, "max_iterations"_a,
          "held"_a.none(), "rows"_a.none(), "threads"_a);
    m.def("solve_coupled", &solve_coupled<T>, nb::kw_only(), "view"_a,
          "other"_a.noconvert(), "other_bias"_a.none(), "with_bias"_a, "confidence"_a, "target"_a,
          "background"_a, "reg"_a, "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(),
          "direction"_a.noconvert(), "direction_bias"_a.none(), "direction_gram"_a.none(), "vectors"_a.noconvert(),
          "mean"_a.noconvert(), "border"_a.noconvert(), "dense"_a.noconvert(), "tolerance"_a, "max_iterations"_a,
          "expected"_a.none(), "with_change"_a, "half"_a, "threads"_a);
    m.def("solve_normal", &solve_normal<T>, nb::kw_only(), "view"_a, "other"_a.noconvert(),
          "with_bias"_a, "confidence"_a, "background"_a, "reg"_a, "reg_by_count"_a, "rhs"_a.noconvert(),
          "vectors"_a.noconvert(), "mean"_a.noconvert(), "border"_a.noconvert(), "dense"_a.noconvert(), "tolerance"_a,
          "max_iterations"_a, "rows"_a.none(), "threads"_a);
}

}  // namespace

void bind_coupling(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace forgetcli
