// Elements and numbers. Text from a dataset becomes a text node, never markup.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

// Three significant digits; whole numbers whole. As `ifdkit.format.number`.
export function number(x) {
  if (x === null || x === undefined || !Number.isFinite(x)) return "–";
  const size = Math.abs(x);
  if (x !== 0 && (size < 1e-4 || size >= 999999.5)) {
    const [digits, power] = x.toExponential(2).split("e");
    return `${digits}e${Number(power)}`.replaceAll("-", "−");
  }
  const decimals = Number.isInteger(x) ? 0 : Math.max(0, 2 - Math.floor(Math.log10(size)));
  const text = x.toLocaleString("en-US", {
    minimumFractionDigits: Math.min(decimals, 6), maximumFractionDigits: Math.min(decimals, 6),
  });
  return text.replaceAll("-", "−");
}

export const count = (n) => n.toLocaleString("en-US");
