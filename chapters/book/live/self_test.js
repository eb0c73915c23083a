// The questions at the end of a chapter. Without this file every option folds out its feedback; with it one chooses.

course.askQuestions = (host) => {
  const questions = [...host.querySelectorAll("p:has(+ details)")];
  const score = element("p", { class: "course-score" });
  const right = new Set();

  questions.forEach((question, number) => {
    const answer = element("div", { role: "status", class: "course-answer" });
    const asked = element("legend");
    asked.append(...question.childNodes);
    const group = element("fieldset", {}, asked);
    for (let fold = question.nextElementSibling; fold?.matches("details"); fold = question.nextElementSibling) {
      const radio = element("input", { type: "radio", name: `course-question-${number}` });
      const label = element("label", {}, radio, " ");
      label.append(...fold.querySelector("summary").childNodes);
      const because = fold.querySelector("p");
      const fits = because.textContent.startsWith("✓");
      radio.addEventListener("change", () => {
        answer.replaceChildren(because);
        answer.classList.toggle("course-right", fits);
        right[fits ? "add" : "delete"](number);
        tell();
      });
      group.append(label);
      fold.remove();
    }
    group.append(answer);
    question.replaceWith(group);
  });

  const tell = () => (score.textContent = `${right.size} of ${questions.length}`);
  host.append(score);
  tell();
};
