// Elements, and numbers as text, for the scripts after this one.
const { element, number, signed } = (() => {
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // Numbers are written as by ifdkit/format.py; a test compares the two.

  function magnitude(x, digits) { // power of ten of the first digit once rounded
    return x === 0 ? 0 : Number(x.toExponential(digits - 1).split("e")[1]);
  }

  function fixed(x, decimals) {
    const text = x.toLocaleString("en", { minimumFractionDigits: decimals,
      maximumFractionDigits: decimals, roundingMode: "halfEven" });
    return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
  }

  function number(x) { // three significant digits
    if (x === null) return "–";
    const size = Math.abs(x);
    if (size !== 0 && (size < 1e-4 || size >= 999999.5)) {
      return x.toExponential(2).replace("e+", "e").replaceAll("-", "−");
    }
    return fixed(x, Number.isInteger(x) ? 0 : Math.max(0, 2 - magnitude(x, 3)));
  }

  function signed(x) { // below one, two significant digits with two to four decimals
    if (x === null) return "–";
    const isSmall = x !== 0 && Math.abs(x) < 0.995;
    const text = isSmall ? fixed(x, Math.min(4, Math.max(2, 1 - magnitude(x, 2)))) : number(x);
    return x > 0 && /[1-9]/.test(text) ? `+${text}` : text;
  }

  return { element, number, signed };
})();
