// Building from pairs and transposing: what each checks before the sorting, and drops.
#include <atomic>
#include <limits>

#include "csr_builder.h"

namespace forgetcli {

namespace {

// Which rows or columns occur at all.
class Seen {
public:
    explicit Seen(std::int64_t n) : n_(n), marks_(new std::atomic<bool>[n]()) {}

    bool mark(std::int32_t i) {
        if (i < 0 || i >= n_) return false;
        // Reading first keeps the cache line shared: most marks are there already.
        if (!marks_[i].load(std::memory_order_relaxed)) marks_[i].store(true, std::memory_order_relaxed);
        return true;
    }

    // The numbers that occur, in order, or None when all do.
    nb::object kept() const {
        std::vector<std::int64_t> found;
        for (std::int64_t i = 0; i < n_; ++i) {
            if (marks_[i]) found.push_back(i);
        }
        if (static_cast<std::int64_t>(found.size()) == n_) return nb::none();
        std::int64_t* data;
        auto array = new_vector<std::int64_t>(found.size(), &data);
        std::copy(found.begin(), found.end(), data);
        return nb::cast(std::move(array));
    }

    // The new number of each one when those that do not occur are dropped.
    std::vector<std::int32_t> renumbered() const {
        std::vector<std::int32_t> map(n_, -1);
        std::int32_t next = 0;
        for (std::int64_t i = 0; i < n_; ++i) {
            if (marks_[i]) map[i] = next++;
        }
        return map;
    }

private:
    std::int64_t n_;
    std::unique_ptr<std::atomic<bool>[]> marks_;
};

void check_pairs(const Int32s& rows, const Int32s& columns, const Floats& values, Seen& row_seen, Seen& column_seen,
                 int threads) {
    parallel_pieces(static_cast<std::int64_t>(rows.size()), threads,
                    [&](std::int64_t begin, std::int64_t end) {
                        bool in_range = true, finite = true;
                        for (std::int64_t i = begin; i < end; ++i) {
                            in_range &= row_seen.mark(rows.data()[i]);
                            in_range &= column_seen.mark(columns.data()[i]);
                            finite &= std::abs(values.data()[i]) <= std::numeric_limits<float>::max();
                        }
                        if (!in_range) throw std::invalid_argument("a row or column number is out of range");
                        if (!finite) throw std::invalid_argument("a value is not a finite number");
                    });
}

}  // namespace

nb::tuple csr_from_pairs(const Int32s& rows, const Int32s& columns, const Floats& values,
                         const std::optional<Int64s>& timestamps, std::int64_t n_rows, std::int64_t n_columns,
                         const char* duplicates, int threads) {
    const auto n = static_cast<std::int64_t>(rows.size());
    require(columns.size() == rows.size() && values.size() == rows.size() &&
                (!timestamps || timestamps->size() == rows.size()),
            "rows, columns, values and timestamps differ in length");
    require(0 <= n_rows && n_rows <= MAX_ROWS && 0 <= n_columns && n_columns <= MAX_ROWS,
            "the number of rows or columns is out of range");
    const auto policy = building::parse_duplicates(duplicates);
    Seen row_seen(n_rows), column_seen(n_columns);
    check_pairs(rows, columns, values, row_seen, column_seen, threads);
    nb::object kept_rows = row_seen.kept(), kept_columns = column_seen.kept();
    std::vector<std::int32_t> column_map;
    if (!kept_columns.is_none()) column_map = column_seen.renumbered();

    building::Builder<float> builder(n, n_rows, n_columns, threads);
    const building::Pairs pairs{rows.data(), columns.data(), values.data(),
                                column_map.empty() ? nullptr : column_map.data()};
    const bool by_time = timestamps && policy == building::Duplicates::last;
    builder.sort(pairs, policy, by_time ? timestamps->data() : nullptr);
    if (!kept_rows.is_none()) {
        const std::int64_t* loose = builder.indptr.data();
        std::int64_t* packed;
        auto indptr = new_vector<std::int64_t>(nb::len(kept_rows) + 1, &packed);
        std::unique_copy(loose, loose + n_rows + 1, packed);  // an empty row ends where it begins
        builder.indptr = std::move(indptr);
    }
    return nb::make_tuple(builder.indptr, builder.indices, builder.values, kept_rows, kept_columns);
}

nb::tuple csr_transpose(const View& view, int threads) {
    require(view.n_rows() <= MAX_ROWS, "more than 2,147,483,647 rows");
    const auto transposed = [&](const auto* values) {
        using Value = std::remove_const_t<std::remove_pointer_t<decltype(values)>>;
        building::Builder<Value> builder(view.nnz(), view.n_columns(), view.n_rows(), threads);
        builder.deal(building::Transposed<Value>{view.indptr(), view.n_rows(), view.indices(), values});
        return nb::make_tuple(builder.indptr, builder.indices, builder.values);
    };
    return view.codes() ? transposed(view.codes()) : transposed(view.values());
}

}  // namespace forgetcli
