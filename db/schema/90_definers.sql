-- Last: every security definer function is given to neurant_router, whose policies and grants allow
-- exactly what these functions need. The previous owner can then no longer grant or use such a
-- function, so this file stands after all grants and triggers.
-- A later migration that audits a new table creates a trigger as neurant_owner, which must be able
-- to execute the trigger's function.

do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid from pg_catalog.pg_proc p
    where p.pronamespace = 'private'::regnamespace and p.prosecdef
  loop
    execute format('alter function %s owner to neurant_router', v_function);
  end loop;
end $$;

-- execute the trigger's function.
set local role neurant_router;
grant execute on function private.audit_change() to neurant_owner;

reset role;
