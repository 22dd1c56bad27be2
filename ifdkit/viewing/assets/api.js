// Requests to the server. A newer request of a kind aborts the one before it.

const running = new Map();

export async function get(path, values = {}) {
  running.get(path)?.abort();
  const controller = new AbortController();
  running.set(path, controller);
  const url = `/api/${path}?${new URLSearchParams(values)}`;
  return answered(await fetch(url, { signal: controller.signal }));
}

export async function post(path, value) {
  return answered(await fetch(`/api/${path}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value),
  }));
}

async function answered(response) {
  let value;
  try {
    value = await response.json();
  } catch {
    throw new Error(`the server answered ${response.status}`);
  }
  if (!response.ok) throw new Error(value.error ?? `the server answered ${response.status}`);
  return value;
}

export const isAborted = (error) => error.name === "AbortError";
