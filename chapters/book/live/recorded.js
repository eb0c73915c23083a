// Explorers whose states are recorded rather than computed: Python was asked for each of them, here one chooses.

course.engines.Recorded = (shown) => {
  const { facts, board, others, controls, texts } = shown;
  const { frames, keys, loose, near, walk, layers, pictures } = facts;
  const first = structuredClone({ board, others, texts });
  const value = (name) => (name in controls ? controls[name].value : board[name]);
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  // How far what a frame shows is from where the reader points, px
  function away(frame, asked) {
    if (!near) return 0;
    const [mine, wanted] = [frame.keys[near].flat(), asked[near].flat()];
    return mine.reduce((all, v, i) => all + Math.abs(v - wanted[i]), 0);
  }

  // The recorded state that has what was just chosen and is most like the one before in all else.
  function go(changed) {
    const asked = Object.fromEntries(keys.map((name) => [name, value(name)]));
    const cost = (frame) => {
      const differ = keys.filter((name) => name !== near && !same(frame.keys[name], asked[name]));
      const hard = differ.filter((name) => !loose.includes(name) || name === changed).length;
      return [differ.includes(changed) ? 1 : 0, hard, away(frame, asked), differ.length];
    };
    const less = (a, b) => {
      const at = a.findIndex((v, i) => v !== b[i]);
      return at >= 0 && a[at] < b[at];
    };
    let [best, least] = [null, null];
    for (const frame of frames) {
      const now = cost(frame);
      if (best === null || less(now, least)) [best, least] = [frame, now];
    }
    show(best);
  }

  function show(frame) {
    for (const [name, key] of Object.entries(frame.keys)) if (name in controls) controls[name].value = key;
    for (const [name, traits] of [["board", board], ...Object.entries(others)]) {
      const { scene, picture, ...rest } = frame.boards[name];
      Object.assign(traits, structuredClone(name === "board" ? first.board : first.others[name]), rest);
      traits.scene = { layers: scene.map((i) => layers[i]) };
      traits.picture = pictures[picture];
    }
    Object.assign(texts, first.texts, frame.texts);
  }

  function step(by) {
    const values = controls[walk].options.map(([, v]) => v);
    const at = (((values.indexOf(value(walk)) + by) % values.length) + values.length) % values.length;
    controls[walk].value = values[at];
    go(walk);
  }

  // One step of playing, and from the end to the beginning.
  function forward() {
    const values = controls[walk].options.map(([, v]) => v).filter((v) => reachable(v));
    const at = values.indexOf(value(walk));
    controls[walk].value = values[(at + 1) % values.length];
    go(walk);
    return values.indexOf(value(walk)) < values.length - 1;
  }

  // The recorded values of `walk` in the states that have all else as it is now.
  function reachable(v) {
    return frames.some((frame) => frame.keys[walk] === v && keys.every((name) => name === walk || name === near || same(frame.keys[name], value(name))));
  }

  // An arrow key is a step; a press on a recorded picture chooses nothing.
  function arrows([x, y], [oldX, oldY]) {
    const by = Math.sign(x - oldX + y - oldY);
    if (walk && by) step(by);
  }

  return {
    ...Object.fromEntries(keys.map((name) => [name, () => go(name)])),
    ...(controls.play ? { play: course.playing(controls.play, forward) } : {}),
    ...{ arrows, next: () => step(1), steps: (now, before) => step(now - before) },
  };
};
