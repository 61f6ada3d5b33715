// What each verdict is called, and which of the four kinds it belongs to.

export const KINDS = {
  accepted: "accepted",
  incorrect: "correctness failure",
  slow: "efficiency failure",
  ours: "not judged",
};

const VERDICTS = {
  accepted: ["AC", "accepted"],
  wrong_answer: ["WA", "incorrect"],
  runtime_error: ["RE", "incorrect"],
  compile_error: ["CE", "incorrect"],
  no_program: ["NP", "incorrect"],
  output_limit: ["OL", "incorrect"],
  security_violation: ["SV", "incorrect"],
  time_limit: ["TL", "slow"],
  memory_limit: ["ML", "slow"],
  judge_error: ["JE", "ours"],
};

export const code = (verdict) => (VERDICTS[verdict] ?? ["??"])[0];
export const kind = (verdict) => (VERDICTS[verdict] ?? [null, "ours"])[1];
export const words = (verdict) => (verdict ?? "no verdict").replaceAll("_", " ");
