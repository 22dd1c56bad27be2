#!/bin/sh
# Score, rewrite, compare, train, answer, judge, predict: every step on sample data, on this machine
# alone, in a few minutes.  The oracle is the embedded model of 135 million
# parameters, which shows how the steps fit together and not how good they can be.
#
#   sh examples/chain.sh [FOLDER]         results in FOLDER, by default chain/
#
# Re-running it resumes: what is scored, rewritten, trained, answered or judged is not done again.
set -eu

OUT=${1:-chain}
DATA=examples/before.json
HELD_OUT=examples/questions.json
ROWS=8
mkdir -p "$OUT"

# 1. How difficult are the responses for the model?
ifdkit score "$DATA" --limit $ROWS -o "$OUT/scores.csv"

# 2. Rewrite them.  A better oracle: --oracle NAME, and --base-url for a server of your own.
ifdkit reflect "$DATA" --limit $ROWS -o "$OUT/recycled.json" --oracle local --max-tokens 200

# 3. What has changed?  The scores stand for the rows that they were made from.
ifdkit compare "$OUT/scores.csv" "$OUT/recycled.json" -o "$OUT/comparison"

# 4. Train on either version under the same budget, and see what it does to held-out rows.
ifdkit train "$OUT/recycled.json" --versus "$DATA" --limit $ROWS -o "$OUT/runs" --preset laptop \
    --steps 2 --batch-size 4 --max-length 96 --eval "$HELD_OUT"

# 5. Answers of both models to instructions that neither has seen.
for side in versus data; do
    ifdkit generate "$HELD_OUT" -m "$OUT/runs/$side-seed0" -o "$OUT/answers-$side.json" \
        --max-new-tokens 32
done

# 6. Which answers are better?
ifdkit judge "$OUT/answers-versus.json" "$OUT/answers-data.json" --oracle local --max-tokens 160 \
    -o "$OUT/judged.json"

# 7. Which score predicts what the judge prefers, and which one what training does?
ifdkit predict "$OUT/judged.json" -o "$OUT/prediction"
ifdkit predict "$OUT/runs/training.json" -o "$OUT/prediction-of-training"
