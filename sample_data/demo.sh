#!/bin/sh
# The main job on the sample data: train, forget, retrain, compare, and what one user is recommended before and after.
# Leaves nothing behind.
set -eu

samples=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cp "$samples/ratings.parquet" "$samples/items.csv" "$samples/deletions.csv" .

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

say() {
    printf '\n'
    printf '# %s\n' "$@"
}

say 'A model of 107,660 ratings of 800 titles, for which 16 factors are enough.'
run forget train ratings.parquet --factors 16
run forget info model.npz

say 'User 42 loves romances and musicals, but a flatmate watched horror on her account.'
run forget recommend model.npz --user 42 -n 10 --item-names items.csv

say 'She takes those 48 ratings back, user 1317 closes the account, title 4 is pulled.' \
    'So small a model would be trained anew, which costs no more and is exact; --no-retrain' \
    'takes the step that forgets from large ones.'
run cp model.npz original.npz
run forget forget model.npz --records deletions.csv --no-retrain

say 'Her recommendations now:'
run forget recommend model.npz --user 42 -n 10 --item-names items.csv

say 'Six models that never saw the records:'
for seed in 1 2 3 4 5 6; do
    run forget retrain original.npz --records deletions.csv --seed "$seed" -o "retrained-$seed.npz" --quiet
done

say 'What is left of the records, beside what those six show by the chance of their seeds:'
run forget compare model.npz retrained-1.npz retrained-2.npz retrained-3.npz retrained-4.npz retrained-5.npz \
    retrained-6.npz --records deletions.csv --original original.npz
