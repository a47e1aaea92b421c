-- Our additions to the queue of jobs.

grant select, insert, update, delete on all tables in schema jobs to neurant_jobs;
grant usage on all sequences in schema jobs to neurant_jobs, neurant_router;
grant execute on all functions in schema jobs to neurant_jobs, neurant_router;
grant select, insert on jobs.procrastinate_jobs, jobs.procrastinate_events to neurant_router;

-- The library's functions name their tables without a schema, so the search path of each function
-- is pinned. A newer version of the library that replaces a function removes the pin;
-- tests/database/test_public_linter.py reports it.
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p where p.pronamespace = 'jobs'::regnamespace
  loop
    execute format('alter function %s set search_path = pg_catalog, jobs, pg_temp', v_function);
  end loop;
end $$;

create table jobs.turns (
  lock text primary key,
  served_at timestamptz not null default clock_timestamp()
);
comment on table jobs.turns is
  'The time at which a job of each lock (the jobs of one kind of one company) was last given to a worker. A row older than an hour counts as absent and is removed.';

grant select, insert, update, delete on jobs.turns to neurant_jobs;

create table jobs.worker_deaths (
  job_id bigint primary key references jobs.procrastinate_jobs on delete cascade,
  deaths smallint not null check (deaths > 0)
);
comment on table jobs.worker_deaths is
  'The number of workers that died while they ran each job. After the second death the job becomes a dead letter.';

grant select, insert, update, delete on jobs.worker_deaths to neurant_jobs;

create function jobs.fetch_fair_job(p_queues character varying[], p_worker_id bigint)
returns jobs.procrastinate_jobs
language plpgsql set search_path = pg_catalog, jobs, pg_temp as $$
declare
  v_job procrastinate_jobs;
begin
  with first_of_lock as (
    select distinct on (j.lock) j.id
    from procrastinate_jobs j
    where j.status = 'todo' and (p_queues is null or j.queue_name = any (p_queues))
      and (j.scheduled_at is null or j.scheduled_at <= now())
      and not exists (
        select from procrastinate_jobs running
        where running.lock = j.lock and running.status = 'doing')
    order by j.lock, j.priority desc, j.id
  ), next as (
    select j.id
    from procrastinate_jobs j
    join first_of_lock f on f.id = j.id
    left join turns t on t.lock = j.lock and t.served_at > now() - interval '1 hour'
    where j.status = 'todo'
    order by j.priority desc, t.served_at nulls first, j.id
    limit 1
    for update of j skip locked
  )
  update procrastinate_jobs j set status = 'doing', worker_id = p_worker_id
  from next where j.id = next.id
  returning j.* into v_job;
  if v_job.lock is not null then
    insert into turns (lock) values (v_job.lock)
    on conflict (lock) do update set served_at = excluded.served_at;
    delete from turns t  -- skip locked: two workers must not wait for each other here
    using (select o.lock from turns o where o.served_at < now() - interval '1 hour'
      for update skip locked) old
    where t.lock = old.lock;
  end if;
  return v_job;
end $$;
comment on function jobs.fetch_fair_job(varchar[], bigint) is
  'Gives a worker its next job: among the locks (the jobs of one kind of one company) of which no job runs, the lock that was served longest ago. It replaces procrastinate_fetch_job_v2, which goes by order of arrival, so that the jobs of one company could delay those of all others.';
grant execute on function jobs.fetch_fair_job(varchar[], bigint) to neurant_jobs;

-- The jobs of one lock wait for one another, and the library polls only every five seconds, so the
-- end of a job notifies the workers.
create trigger wake_the_next_of_a_lock after update of status on jobs.procrastinate_jobs
  for each row when (old.status = 'doing' and new.status <> 'doing' and new.lock is not null)
  execute function jobs.procrastinate_notify_queue_job_inserted_v1();

create function jobs.count_worker_death(p_job_id bigint, p_worker_id bigint) returns integer
language plpgsql set search_path = pg_catalog, jobs, pg_temp as $$
declare
  v_deaths integer;
begin
  perform from procrastinate_jobs j
  where j.id = p_job_id and j.status = 'doing' and j.worker_id is not distinct from p_worker_id
  for update;
  if not found then
    return null;  -- another worker was faster
  end if;
  insert into worker_deaths as d (job_id, deaths) values (p_job_id, 1)
  on conflict (job_id) do update set deaths = d.deaths + 1
  returning deaths into v_deaths;
  if v_deaths < 2 then
    perform procrastinate_retry_job_v1(p_job_id, now(), null, null, 'after a worker''s death');
  end if;
  return v_deaths;
end $$;
comment on function jobs.count_worker_death(bigint, bigint) is
  'Counts the death of the worker that ran this job, and returns the job to the queue after the first death only, with a lock that all such jobs share, so that they run one after another and one of them cannot end a worker together with another job twice. Returns the number of deaths, or null if the job no longer belongs to that worker.';
grant execute on function jobs.count_worker_death(bigint, bigint) to neurant_jobs;

create function private.defer_job(p_task text, p_args jsonb) returns bigint
language plpgsql security definer set search_path = jobs, pg_temp as $$
declare
  v_company uuid := private.company_id();
  v_job bigint;
begin
  if v_company is null then
    raise exception 'no company to defer a job for' using errcode = 'insufficient_privilege';
  end if;
  insert into procrastinate_jobs (queue_name, task_name, lock, args)
  values ('default', p_task, v_company || ':' || p_task,
    p_args || jsonb_build_object('company_id', v_company))
  returning id into v_job;
  return v_job;
end $$;
comment on function private.defer_job(text, jsonb) is
  'Adds a job to the queue in the caller''s transaction and stamps the verified company on it; the jobs of one kind of one company run one after another. Job arguments carry ids only. The queue''s triggers need the queue''s schema on the search path. Security definer, called by staff and API keys and the worker for one company, because no role that serves tenants may write the queue.';
grant execute on function private.defer_job(text, jsonb) to authenticated, neurant_worker;
