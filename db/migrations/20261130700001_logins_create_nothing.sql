-- migrate:up
-- The logins create nothing: no temporary table, no large object. Sessions that stand still end.
--
-- Whoever injects SQL into the web process has the rights of everybody (PUBLIC): temporary tables,
-- whose names come before ours wherever a search_path is not pinned, and large objects, which no
-- policy covers. On a server where the migrating login may not take a right away, it stays, and
-- `neurant verify` tells of it.
do $$
declare
  v_function regprocedure;
  v_role text;
begin
  execute format('revoke create, temporary on database %I from public', current_database());
  for v_function in
    select p.oid from pg_catalog.pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace
      and (p.proname ~ '^lo_' or p.proname in ('loread', 'lowrite'))
  loop
    begin
      execute format('revoke execute on function %s from public', v_function);
    exception when insufficient_privilege then
      raise notice '% stays as it is: %', v_function, sqlerrm;
    end;
  end loop;
  -- A connection that something on the way has swallowed holds its locks no longer than this.
  foreach v_role in array array['neurant_app', 'neurant_jobs'] loop
    if not exists (
      select from pg_catalog.pg_db_role_setting s
      where s.setrole = v_role::regrole and s.setdatabase = 0
        and array_to_string(s.setconfig, ' ') like '%idle_in_transaction_session_timeout=%'
    ) then
      execute format('alter role %I set idle_in_transaction_session_timeout = %L', v_role, '60s');
    end if;
  end loop;
end $$;
-- migrate:down
