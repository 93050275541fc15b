// What a reader would trip over on the page as it is laid out now: a list of faults, each in words.
(() => {
  const faults = [];
  const parse = (colour) => {
    const [, kind, inside] = colour.match(/^(rgba?|color)\((?:srgb )?([^)]+)\)/) || [];
    if (!kind) return null;
    const [r, g, b, alpha = 1] = inside.split(/[ ,/]+/).map(Number);
    return [...[r, g, b].map((part) => kind === "color" ? 255 * part : part), alpha];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255 <= .04045 ? part / 255 / 12.92 : ((part / 255 + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const contrast = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + .05) / (low + .05);
  };
  const chain = (node) => node ? [node, ...chain(node.parentElement)] : [];
  const behind = (node) => chain(node).map((one) => parse(getComputedStyle(one).backgroundColor)).filter((one) => one && one[3])
    .reduceRight((under, top) => over(top, under), [255, 255, 255, 1]);
  const named = (node) => `${node.tagName.toLowerCase()}.${node.getAttribute("class") || ""}`;

  if (document.scrollingElement.scrollWidth > innerWidth) faults.push(`the page scrolls sideways: ${document.scrollingElement.scrollWidth}`);
  if (!document.title.trim()) faults.push("no title");
  if (document.documentElement.lang !== "en") faults.push("no language");

  const own = ".scroll, nav .wrap, pre, .md table";  // scroll inside their box
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode());) {
    const node = text.parentElement;
    if (!text.data.trim() || node.closest("script, style, title, option") || !node.checkVisibility()) continue;
    const style = getComputedStyle(node), words = text.data.trim().slice(0, 30);
    const ink = parse(node instanceof SVGElement ? style.fill : style.color);
    const opacity = chain(node).reduce((product, one) => product * Number(getComputedStyle(one).opacity), 1);
    const ground = behind(node);
    const ratio = contrast(over([...ink.slice(0, 3), ink[3] * opacity], ground), ground);
    if (ratio < 4.5 && !node.matches(":disabled")) faults.push(`contrast ${ratio.toFixed(2)}: ${named(node)} "${words}"`);
    if (parseFloat(style.fontSize) < 11) faults.push(`${style.fontSize}: ${named(node)} "${words}"`);
    const range = document.createRange();
    range.selectNodeContents(text);
    const box = range.getBoundingClientRect();
    if (box.width && (box.right > innerWidth + 1 || box.left < -1) && !node.closest(`${own}, .who, .snippet, .labels`)) {
      faults.push(`beyond the edge: ${named(node)} "${words}"`);
    }
  }
  for (const svg of document.querySelectorAll("svg")) {
    if (svg.parentElement.closest("svg") || svg.querySelector("[transform]")) continue;
    const boxes = Array.from(svg.querySelectorAll("text"), (text) => [text.getBoundingClientRect(), text.textContent])
      .filter(([box]) => box.width);
    boxes.forEach(([a, one], at) => boxes.slice(at + 1).forEach(([b, other]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 2 && down > 3) faults.push(`on each other: "${one}" and "${other}"`);
    }));
  }
  return Array.from(new Set(faults));
})()
