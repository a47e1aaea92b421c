-- migrate:up
-- A search by words reads them in their row, by a plan that does not depend on the question.
set local role neurant_owner;
-- Out of line each costs three pages more. Rows that are there stay as they are, and are found all the same.
alter table public.document_chunks alter column search set storage main;
reset role;
set local role neurant_router;
-- Knowing the words, the planner takes every chunk of the company for near: it does not see what is out of line.
alter function private.search_chunks(uuid, text, extensions.vector, text, integer)
  set plan_cache_mode = 'force_generic_plan';
reset role;
-- migrate:down
